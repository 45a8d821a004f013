//! Sixfold's load balancer with its defaults, but for where it listens, its backends and its one thread.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::Setup;
use crate::processes::{free_port, write};

pub(super) fn command(setup: &Setup<'_>, binary: &Path, port: u16) -> anyhow::Result<Command> {
    let admin = free_port(port + 1)?;
    let backends: Vec<String> =
        setup.backends.iter().map(|backend| format!("\"127.0.0.1:{backend}\"")).collect();
    let mut text = format!(
        "[process]\nadmin = \"127.0.0.1:{admin}\"\n[load_balancer]\nlisten = \"127.0.0.1:{port}\"\nthreads = 1\n\
         backends = [{}]\n",
        backends.join(", ")
    );
    if let Some(certificate) = setup.certificate {
        let _ = write!(
            text,
            "[load_balancer.tls]\ncertificates = [{{ cert = {:?}, key = {:?} }}]\n",
            certificate.chain, certificate.key
        );
    }
    let mut command = Command::new(binary);
    command.args(["load-balancer", "--config", &write(setup.folder, "sixfold.toml", &text)?]);
    Ok(command)
}
