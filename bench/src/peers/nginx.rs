//! nginx, as a load balancer and as the static backend behind all of them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::Setup;
use crate::processes::{Place, Running, free_port, write};

pub(super) const PROGRAM: &str = "/usr/sbin/nginx";

/// nginx takes no longer text in its configuration than 4,096 bytes.
const LONGEST_TEXT: usize = 4_000;

pub(super) fn command(setup: &Setup<'_>, port: u16) -> anyhow::Result<Command> {
    let mut servers = String::new();
    for backend in setup.backends {
        let _ = write!(servers, " server 127.0.0.1:{backend};");
    }
    let tls = setup.certificate.map_or_else(String::new, |certificate| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; \
             ssl_session_cache shared:sessions:10m;",
            certificate.chain, certificate.key
        )
    });
    let listen = [(setup.certificate.is_some(), " ssl"), (setup.http2, " http2")]
        .iter()
        .filter_map(|(wanted, word)| wanted.then_some(*word))
        .collect::<String>();
    // Bodies are streamed as the others do: by default nginx would write a large upload to a file first.
    let text = format!(
        "upstream out {{ least_conn;{servers} keepalive 1024; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port}{listen}; keepalive_requests 100000000; {tls}\n\
         client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;\n\
         location / {{ proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
    );
    with_servers(setup.folder, "nginx-peer", &text)
}

/// Starts the backend of the throughput measurements: it answers `size` bytes from memory and reads uploads.
pub(crate) fn start_backend(folder: &Path, size: usize, place: Place) -> anyhow::Result<(Running, u16)> {
    let port = free_port(20_000)?;
    let name = format!("backend-{size}");
    let body = "x".repeat(size);
    let answer = if size < LONGEST_TEXT {
        format!("default_type text/plain; return 200 \"{body}\";")
    } else {
        let base = folder.join(&name);
        std::fs::create_dir_all(&base)?;
        write(&base, "body", &body)?;
        format!("root {}; rewrite ^ /body break; open_file_cache max=8; sendfile on;", base.display())
    };
    let text = format!(
        "server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; client_max_body_size 0;\n\
         client_body_buffer_size 128k; location / {{ {answer} }} }}"
    );
    Ok((Running::start(with_servers(folder, &name, &text)?, port, place, None)?, port))
}

fn with_servers(folder: &Path, name: &str, servers: &str) -> anyhow::Result<Command> {
    let base = folder.join(name);
    std::fs::create_dir_all(&base)?;
    let text = format!(
        "worker_processes 1; daemon off; pid {base}/pid; error_log {base}/error.log;\n\
         events {{ worker_connections 18000; multi_accept on; }}\n\
         http {{ access_log off; tcp_nodelay on; client_body_temp_path {base}/body; proxy_temp_path {base}/proxy;\n\
         fastcgi_temp_path {base}/f; uwsgi_temp_path {base}/u; scgi_temp_path {base}/s;\n{servers}\n}}",
        base = base.display()
    );
    let mut command = Command::new(PROGRAM);
    command.args(["-p", &base.to_string_lossy(), "-c", &write(&base, "nginx.conf", &text)?]);
    Ok(command)
}
