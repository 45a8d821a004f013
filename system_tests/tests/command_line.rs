//! What a person sees at the terminal: tables, exit codes, and one clear line when something is wrong.

use std::net::TcpListener;
use std::process::{Command, Output};

use rustix::process::Signal;
use system_tests::{Client, House, Layout, Ports, binary, free_port, wait_until};

fn sixfold(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that the command could not start and said why in one line.
fn assert_refused(output: &Output, says: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(says), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

#[tokio::test]
async fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sixfold.toml");
    std::fs::write(&file, "[load_balancer]\nlisten = \"127.0.0.1:0\"\nbackend = []\n").expect("the file");
    let file = file.to_str().expect("a path");
    for arguments in [["config", "check", "--config", file], ["up", "--config", file, "--data=/tmp/never"]] {
        assert_refused(
            &sixfold(&arguments),
            "sixfold.toml:3: unknown key `backend`; did you mean `backends`?",
        );
    }
    assert_refused(&sixfold(&["config", "check", "--config", "/nonexistent.toml"]), "cannot be read");
}

#[tokio::test]
async fn what_a_role_would_refuse_the_check_refuses_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sixfold.toml");
    let cases = [
        ("[database]\nlisten = \"0.0.0.0:5002\"\n", "no cluster token is set"),
        ("[load_balancer]\nlisten = \"nonsense\"\n", "nonsense"),
        ("[process]\nlog = \"blub===\"\n", "process.log"),
        ("[cache]\nlisten = \"127.0.0.1:5005\"\n", "127.0.0.1:5005 is the address of"),
        ("[services.shop]\ninstances = [\"http://a:1/\"]\n", "sixfold.toml:2: services.shop.instances"),
    ];
    for (text, says) in cases {
        std::fs::write(&file, text).expect("the file");
        assert_refused(&sixfold(&["config", "check", "--config", file.to_str().expect("a path")]), says);
    }
}

#[tokio::test]
async fn a_terminal_that_is_gone_does_not_end_the_house_and_the_password_is_still_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(binary())
        .args(["up", "--config"])
        .arg(House::write_config(folder.path(), &Ports::find(), ""))
        .stdout(std::fs::File::options().write(true).open("/dev/full").expect("a full device"))
        .stderr(std::fs::File::create(folder.path().join("err")).expect("a file"))
        .spawn()
        .expect("the binary starts");
    let said = || std::fs::read_to_string(folder.path().join("err")).unwrap_or_default();
    wait_until("the password is told on standard error", || async {
        said().contains("admin was created with the password")
    })
    .await;
    assert!(child.try_wait().expect("its state").is_none(), "{}", said());
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_does_not_end_the_house() {
    let folder = tempfile::tempdir().expect("a folder");
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    let ports = Ports::find();
    let mut child = Command::new(binary())
        .args(["up", "--config"])
        .arg(House::write_config(folder.path(), &ports, ""))
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("the binary starts");
    let admin = Client::new(format!("http://127.0.0.1:{}", ports.admin));
    wait_until("it is ready, a database made and all it logs lost", || async {
        let asked = admin.try_send("GET", "/readyz", &[], "").await;
        asked.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    assert!(child.try_wait().expect("its state").is_none());
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

#[tokio::test]
async fn a_taken_port_is_refused_and_nothing_is_half_started() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sixfold.toml");
    let resp = free_port();
    let text = format!("[cache]\nlisten = \"{address}\"\nresp_listen = \"127.0.0.1:{resp}\"\n");
    std::fs::write(&file, text).expect("the file");
    let output = sixfold(&["cache", "--config", file.to_str().expect("a path")]);
    assert_refused(&output, &address);
    TcpListener::bind(("127.0.0.1", resp)).expect("the other port is free again");
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused() {
    let house = House::start(Layout::Folded).await;
    let data = house.data();
    let listen = format!("127.0.0.1:{}", free_port());
    let output = sixfold(&["database", "--listen", &listen, "--data", data.to_str().expect("a path")]);
    assert_refused(&output, "in use");
}

#[tokio::test]
async fn status_tells_every_role_and_fails_when_one_is_down() {
    let mut house = House::start(Layout::Unfolded).await;
    let file = house.config_file();
    let status = || sixfold(&["status", "--config", file.to_str().expect("a path")]);
    let healthy = status();
    let table = String::from_utf8_lossy(&healthy.stdout).into_owned();
    assert_eq!(healthy.status.code(), Some(0), "{table}");
    for role in ["load balancer", "gateway 5", "service accounts", "worker", "cache", "database"] {
        assert!(table.lines().any(|line| line.contains(role) && line.contains("ready")), "{table}");
    }
    house.kill("cache");
    let unhealthy = status();
    let table = String::from_utf8_lossy(&unhealthy.stdout).into_owned();
    assert_eq!(unhealthy.status.code(), Some(1), "{table}");
    assert!(table.lines().any(|line| line.contains("cache") && line.contains("down")), "{table}");
}

#[tokio::test]
async fn the_annotated_config_file_equals_the_defaults() {
    let annotated = concat!(env!("CARGO_MANIFEST_DIR"), "/../sixfold.toml");
    let from_file = sixfold(&["config", "show", "--config", annotated]);
    assert_eq!(from_file.status.code(), Some(0), "{}", stderr(&from_file));
    let defaults = sixfold(&["config", "show"]);
    assert_eq!(String::from_utf8_lossy(&from_file.stdout), String::from_utf8_lossy(&defaults.stdout));
    // Every key of the defaults is written in the file, so a reader sees them all.
    let text = std::fs::read_to_string(annotated).expect("the file");
    for line in String::from_utf8_lossy(&defaults.stdout).lines() {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(text.contains(key), "{key} is missing in sixfold.toml");
        }
    }
}

#[tokio::test]
async fn a_backup_taken_under_way_restores_what_was_acknowledged() {
    let mut house = House::start(Layout::Folded).await;
    let admin = house.administrator().await;
    let body = serde_json::json!({"name": "lamp", "price": 1});
    let created = admin.post("/catalog/products", &body).await;
    let path = created.field("location").to_owned();
    let file = house.config_file();
    let file = file.to_str().expect("a path");
    let copy = house.data().join("../copy.db");
    let copy = copy.to_str().expect("a path");
    let backup = sixfold(&["database", "backup", copy, "--config", file]);
    assert_eq!(backup.status.code(), Some(0), "{}", stderr(&backup));
    let verify = sixfold(&["database", "verify", copy]);
    assert_eq!(verify.status.code(), Some(0), "{}", stderr(&verify));
    back_up_and_restore_where_the_url_says(copy);

    assert_eq!(admin.send("DELETE", &path, &[], "").await.status, 204);
    assert_refused(&sixfold(&["database", "restore", copy, "--force", "--config", file]), "in use");
    house.signal("up", Signal::TERM);
    assert!(house.wait_for_end("up").await.success(), "{}", house.logs());
    assert_refused(&sixfold(&["database", "restore", copy, "--config", file]), "force");
    let restore = sixfold(&["database", "restore", copy, "--force", "--config", file]);
    assert_eq!(restore.status.code(), Some(0), "{}", stderr(&restore));
    house.start_again("up").await;
    assert_eq!(house.client().get(&path).await.json()["name"], "lamp");

    let mut bytes = std::fs::read(copy).expect("the copy");
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(copy, bytes).expect("the damaged copy");
    assert_eq!(sixfold(&["database", "verify", copy]).status.code(), Some(2));
}

/// Checks that the commands go to the folder that `database.url` names, and not to the data folder.
fn back_up_and_restore_where_the_url_says(copy: &str) {
    let machine = tempfile::tempdir().expect("a folder");
    let path = |name: &str| machine.path().join(name).display().to_string();
    let (data, url) = (path("data"), format!("sqlite:{}", path("named")));
    let settings = format!("[process]\ndata = {data:?}\n[database]\nurl = {url:?}\n");
    std::fs::write(path("sixfold.toml"), settings).expect("the settings");
    for action in [["restore", copy], ["backup", &path("again.db")]] {
        let output = sixfold(&["database", action[0], action[1], "--config", &path("sixfold.toml")]);
        assert_eq!(output.status.code(), Some(0), "{action:?}: {}", stderr(&output));
    }
    assert!(machine.path().join("named/sixfold.db").exists() && !machine.path().join("data").exists());
    let elsewhere = ["database", "restore", copy, "--to", &path("to"), "--config", &path("sixfold.toml")];
    let output = sixfold(&elsewhere);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(machine.path().join("to/sixfold.db").exists());
}
