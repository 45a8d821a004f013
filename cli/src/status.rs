//! `sixfold status`: asks every role of the configuration how it is.

use std::process::ExitCode;
use std::time::Duration;

use process::HttpClient;
use process::admin::ProcessHealth;
use process::health::{HealthReport, HealthState};

use crate::settings::Settings;
use crate::{EXIT_FAILED, run, table, terminal};

/// How long a role may take to say how it is.
const DEADLINE: Duration = Duration::from_secs(2);

/// A role of the configuration and where its health is asked.
struct Place {
    name: String,
    address: String,
    /// The load balancer answers for itself only on the admin address: its own port belongs to the backends.
    is_admin: bool,
}

/// Prints the table and exits with 1 if any role is down.
pub(crate) async fn report(settings: &Settings, only: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut places = places(settings);
    if let Some(prefix) = only {
        places.retain(|place| place.name.starts_with(prefix));
        anyhow::ensure!(!places.is_empty(), "no role of the configuration is called `{prefix}`");
    }
    let client = HttpClient::with_credential(None, DEADLINE);
    let states = futures_util::future::join_all(places.iter().map(|place| ask(&client, place))).await;
    let all_ready = states.iter().all(|state| state == "ready");
    let rows: Vec<Vec<String>> = places
        .into_iter()
        .zip(states)
        .map(|(place, state)| vec![place.name, format!("http://{}", place.address), state])
        .collect();
    terminal::say(table::render(&["ROLE", "ADDRESS", "STATE"], &rows).trim_end());
    Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn places(settings: &Settings) -> Vec<Place> {
    let place = |name: String, address: &str| Place { name, address: address.to_owned(), is_admin: false };
    let admin = settings.process.admin.as_deref().unwrap_or(run::HOUSE_ADMIN);
    let mut places =
        vec![Place { name: "load balancer".to_owned(), address: admin.to_owned(), is_admin: true }];
    let gateways = settings.load_balancer.backends.iter().enumerate();
    places.extend(gateways.map(|(index, at)| place(format!("gateway {}", index + 1), &at.address)));
    for name in settings.microservice.services.keys() {
        let instances = settings.services.find(name).map(|service| service.instances.as_slice());
        places.extend(
            instances.unwrap_or_default().iter().map(|at| place(format!("service {name}"), &at.address)),
        );
    }
    let workers = settings.services.find("worker").map(|service| service.instances.as_slice());
    places.extend(workers.unwrap_or_default().iter().map(|at| place("worker".to_owned(), &at.address)));
    if !settings.cache.is_external() {
        places.push(place("cache".to_owned(), settings.cache.http_address()));
    }
    places.push(place("database".to_owned(), settings.database.address()));
    places
}

async fn ask(client: &HttpClient, place: &Place) -> String {
    let url = format!("http://{}/health", place.address);
    let answer = match client.get(&url).await {
        Ok(answer) => answer,
        Err(_) => return "down".to_owned(),
    };
    let reports = match place.is_admin {
        true => answer.json::<ProcessHealth>(&url).map(|process| process.roles),
        false => answer.json::<HealthReport>(&url).map(|report| vec![report]),
    };
    let Ok(reports) = reports else { return "not a sixfold role".to_owned() };
    let report = reports.into_iter().find(|report| !place.is_admin || report.role == place.name);
    match report {
        None => "down".to_owned(),
        Some(HealthReport { state: HealthState::Ready, .. }) => "ready".to_owned(),
        Some(HealthReport { state, reason, .. }) => {
            let state = format!("{state:?}").to_lowercase();
            reason.map_or(state.clone(), |reason| format!("{state}: {reason}"))
        }
    }
}
