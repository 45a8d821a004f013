//! Our side: all six tiers in one process, with one collection that anybody may change.

use std::path::Path;
use std::process::Command;

use crate::idle::wait_until_ready;
use crate::processes::{Place, Running, free_ports, write};

/// The path of all records.
pub(super) const PATH: &str = "/shop/products";

/// The query of a list.
pub(super) const QUERY: &str = "?category=eq.c%d&price=gte.%d&order=price&limit=30";

const SCHEMA: &str = r#"{"type": "object", "required": ["name", "price"], "additionalProperties": false, "properties": {
    "name": {"type": "string", "maxLength": 200}, "price": {"type": "number"}, "category": {"type": "string"}}}"#;

/// A house that runs, and two ways to ask it.
pub(super) struct House {
    pub(super) running: Running,
    pub(super) entry: String,
    pub(super) service: String,
}

/// Starts it over a data folder, which holds its configuration too.
pub(super) fn start(binary: &Path, data: &Path) -> anyhow::Result<House> {
    std::fs::create_dir_all(data)?;
    let ports = free_ports(22_000, 8)?;
    let at = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let (entry, gateway, service, worker) = (at(0), at(1), at(2), at(3));
    let (database, cache, resp, admin) = (at(4), at(5), at(6), at(7));
    write(data, "products.json", SCHEMA)?;
    let text = format!(
        "[process]\ndata = \"{data}\"\nadmin = \"{admin}\"\nlog = \"warn\"\n\
         [services]\nworker = {{ instances = [\"{worker}\"], internal = true }}\n\
         shop = {{ instances = [\"{service}\"], internal = true }}\n\
         [load_balancer]\nlisten = \"{entry}\"\nbackends = [\"{gateway}\"]\n\
         [api_gateway]\nlisten = [\"{gateway}\"]\ndefault_routes = false\nrate = {{ per_second = 1000000, burst = 1000000 }}\n\
         [[api_gateway.routes]]\npath = \"/shop/{{*rest}}\"\nservice = \"shop\"\npublic = true\n\
         [database]\nlisten = \"{database}\"\n[cache]\nlisten = \"{cache}\"\nresp_listen = \"{resp}\"\n\
         [worker]\nlisten = \"{worker}\"\n\
         [microservice.services.shop.collections.products]\nschema = \"products.json\"\n\
         indexes = [\"price\", \"category,price\"]\n",
        data = data.display(),
    );
    let config = write(data, "sixfold.toml", &text)?;
    let mut command = Command::new(binary);
    command.args(["up", "--config", &config]);
    let running = Running::start(command, ports[0], Place::Anywhere, Some(&data.join("log")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(wait_until_ready(ports[7]))?;
    Ok(House { running, entry, service })
}
