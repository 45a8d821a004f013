//! A bucket as destination, on a local server that speaks S3 (moto, installed by `system_tests/install.sh`).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use database::backup::{Mode, Recovery, Standing, Target};
use database::{Config, Engine};

use crate::harness::{config, put, restored, shipping, status, transact, until};

/// A running server, killed when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it on a port of its own choice; `None` where it is not installed.
    fn start(port: u16) -> Option<Self> {
        let python =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-clients/python/bin/python");
        let script = "import sys\n\
                      from moto.server import ThreadedMotoServer\n\
                      import boto3\n\
                      server = ThreadedMotoServer(ip_address='127.0.0.1', port=int(sys.argv[1]))\n\
                      server.start()\n\
                      host, port = server.get_host_and_port()\n\
                      boto3.client('s3', endpoint_url=f'http://127.0.0.1:{port}', region_name='us-east-1').create_bucket(Bucket='backups')\n\
                      print(port, flush=True)\n\
                      sys.stdin.read()\n";
        let mut child = Command::new(python)
            .args(["-c", script, &port.to_string()])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It says other things first.
        let lines = BufReader::new(child.stdout.take()?).lines();
        let port = lines.map_while(Result::ok).find_map(|line| line.trim().parse().ok());
        if port.is_none() {
            let _ = child.kill();
        }
        Some(Self { child, port: port? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bucket_config(server: &Server) -> Config {
    let mut config = config(std::path::Path::new("/nowhere"), Mode::Sync);
    config.backup.destination = Some("s3://backups/house".into());
    config.backup.s3.endpoint = Some(format!("http://127.0.0.1:{}", server.port));
    config.backup.s3.region = Some("us-east-1".into());
    config.backup.s3.access_key_id = Some("test".into());
    config.backup.s3.secret_access_key = Some(process::Secret::new("test"));
    config.backup.timeout = std::time::Duration::from_secs(3);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_takes_and_gives_back_what_a_folder_does_and_may_be_away() {
    let Some(server) = Server::start(0) else {
        assert!(std::env::var_os("CI").is_none(), "moto is not installed: run system_tests/install.sh");
        println!("skipped: moto is not installed (system_tests/install.sh)");
        return;
    };
    let config = bucket_config(&server);
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    for number in 0..10 {
        transact(&engine, vec![put(number, u64::from(number), 10)]).await.unwrap();
    }
    assert_eq!(restored(&config, Target::Latest).await.len(), 10);
    // More than one piece, so that it goes up in several.
    for number in 10..40 {
        transact(&engine, vec![put(number, u64::from(number), 500_000)]).await.unwrap();
    }
    let random: Vec<_> = (100..1000).map(|number| crate::harness::put_random(number, 1)).collect();
    for operations in random.chunks(50) {
        transact(&engine, operations.to_vec()).await.unwrap();
    }
    let base = engine.store_base().await.unwrap();
    assert!(base.size_bytes > 8 << 20, "{base:?}");
    assert_eq!(engine.drill().await.unwrap().fault, None);
    let recovery = Recovery::open(&config.backup).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let found = recovery.inspect(true, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert_eq!(found.faults, []);
    // One that answers nothing: what is on its way to it is behind, also before that is given up.
    let process = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let hanging = transact(&engine, vec![put(1999, 1, 10)]);
    let watching = async {
        until("the lag", || status(&engine).lag_seconds > 0.5).await;
        let failed = recovery.list().await.unwrap_err().to_string();
        assert!(failed.contains("no answer within 3s"), "each request has the deadline: {failed}");
        rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    };
    let _ = tokio::join!(hanging, watching);
    until("what hung", || status(&engine).lag_commits == 0).await;
    assert_eq!(status(&engine).lag_seconds, 0.0);
    drop(server);
    let refused = transact(&engine, vec![put(2000, 1, 10)]).await;
    assert!(refused.is_err());
    until("the alarm", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    engine.close();
}
