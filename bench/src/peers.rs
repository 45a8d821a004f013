//! The load balancers that are compared, each with one thread before one static backend.

use std::path::Path;
use std::process::Command;

use crate::processes::{Running, free_port, write};

/// One load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Sixfold,
    HaProxy,
    /// HAProxy writing the fields sixfold writes by default: who asked, `Via`, a trace and a request ID.
    HaProxySameFields,
    Nginx,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Sixfold, Self::HaProxy, Self::HaProxySameFields, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sixfold => "sixfold",
            Self::HaProxy => "haproxy",
            Self::HaProxySameFields => "haproxy, same fields",
            Self::Nginx => "nginx",
        }
    }

    /// Starts it before the backend and gives its port.
    pub(crate) fn start(self, binary: &Path, folder: &Path, backend: u16) -> anyhow::Result<(Running, u16)> {
        let port = free_port(21_000)?;
        let mut command = match self {
            Self::Sixfold => {
                let admin = free_port(port + 1)?;
                let text = format!(
                    "[process]\nadmin = \"127.0.0.1:{admin}\"\n[load_balancer]\nlisten = \"127.0.0.1:{port}\"\n\
                     threads = 1\nbackends = [\"127.0.0.1:{backend}\"]\n"
                );
                let mut command = Command::new(binary);
                command.args(["load-balancer", "--config", &write(folder, "sixfold.toml", &text)?]);
                command
            }
            Self::HaProxy => haproxy(folder, port, backend, "")?,
            Self::HaProxySameFields => haproxy(folder, port, backend, SAME_FIELDS)?,
            Self::Nginx => nginx(
                folder,
                "nginx-peer",
                &format!(
                    "upstream out {{ least_conn; server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}\n\
                 server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;\n\
                 location / {{ proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
                ),
            )?,
        };
        Ok((Running::start(&mut command, port)?, port))
    }
}

/// What sixfold does with every request by default, said in HAProxy's words.
const SAME_FIELDS: &str = "  unique-id-format %[uuid()]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request add-header Via \"1.1 haproxy\"
  http-request set-header traceparent 00-%[unique-id]-01
  http-response set-header X-Request-Id %[unique-id]
";

fn haproxy(folder: &Path, port: u16, backend: u16, frontend: &str) -> anyhow::Result<Command> {
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 1s\n  \
         timeout client 30s\n  timeout server 30s\n  http-reuse always\n  option forwardfor\n\
         frontend in\n  bind 127.0.0.1:{port}\n{frontend}  default_backend out\n\
         backend out\n  balance leastconn\n  option httpchk GET /health\n  \
         server one 127.0.0.1:{backend} check\n"
    );
    let mut command = Command::new("/usr/sbin/haproxy");
    command.args(["-db", "-f", &write(folder, "haproxy.cfg", &text)?]);
    Ok(command)
}

/// Starts the backend: an nginx that answers with `size` bytes from memory.
pub(crate) fn start_backend(folder: &Path, size: usize) -> anyhow::Result<(Running, u16)> {
    let port = free_port(20_000)?;
    let body = "x".repeat(size);
    let mut command = nginx(
        folder,
        "backend",
        &format!(
            "server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;\n\
         location / {{ default_type text/plain; return 200 \"{body}\"; }} }}"
        ),
    )?;
    Ok((Running::start(&mut command, port)?, port))
}

fn nginx(folder: &Path, name: &str, servers: &str) -> anyhow::Result<Command> {
    let base = folder.join(name);
    std::fs::create_dir_all(&base)?;
    let text = format!(
        "worker_processes 1; daemon off; pid {base}/pid; error_log {base}/error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; client_body_temp_path {base}/body; proxy_temp_path {base}/proxy;\n\
         fastcgi_temp_path {base}/f; uwsgi_temp_path {base}/u; scgi_temp_path {base}/s;\n{servers}\n}}",
        base = base.display()
    );
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-p", &base.to_string_lossy(), "-c", &write(&base, "nginx.conf", &text)?]);
    Ok(command)
}
