//! The life of a process: bind every role, then run them, then stop them in turn.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use microservice::FirstAdmin;
use process::health::HealthState;
use process::reload::Reloader;
use process::{Bound, Health, Listening, RoleError, Shutdown, admin, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::reload::{Source, follow};
use crate::role::{LAST_STOP_TURN, Role, Shared};
use crate::settings::Settings;
use crate::{table, takeover, terminal};

/// How long the table waits for every role to be ready before it is printed as things stand.
const READY_WAIT: Duration = Duration::from_secs(5);

/// How often readiness is looked at while starting.
const READY_LOOK: Duration = Duration::from_millis(5);

/// The admin address of `up` and of the load balancer.
pub(crate) const HOUSE_ADMIN: &str = "127.0.0.1:8001";

/// How far above a role's port its admin port lies.
const ADMIN_PORT_OFFSET: u16 = 10_000;

/// What is printed once the process is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// The table of the whole house, and what to try next.
    House,
    /// The table of one role.
    Role,
}

/// A role that runs, and how it is told to stop.
struct Running {
    turn: u8,
    shutdown: Shutdown,
    tasks: JoinSet<Result<(), RoleError>>,
}

/// What the table says of one address.
struct Row {
    name: String,
    listening: Listening,
    health: Health,
}

/// Runs a future on the ordinary multi-threaded runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

/// Why a process stops.
enum End {
    /// Someone asked for it.
    Asked,
    /// Its successor has its listeners and serves.
    TakenOver,
    /// A role cannot go on.
    Failed(RoleError),
    /// The process it was to replace goes on.
    NotTakenOver(anyhow::Error),
}

/// Plays the roles to their end, in a process that had one thread so far; see [`serve`].
pub(crate) fn play(
    source: &Source,
    settings: Settings,
    roles: &[Role],
    greeting: Greeting,
) -> anyhow::Result<ExitCode> {
    process::open_files::prepare();
    block_on(serve(source, settings, roles, greeting))
}

/// Binds the roles, serves until a signal, a successor or a failure, and stops within the configured grace.
async fn serve(
    source: &Source,
    settings: Settings,
    roles: &[Role],
    greeting: Greeting,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    telemetry::start(&settings.process)?;
    let mut signals = Signals::catch()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let place = takeover::find_place(&settings.process, roles)?;
    let predecessor = takeover::take_over(place.as_ref()).await?;

    let reloader = Arc::new(Reloader::new(settings));
    let settings = reloader.current();
    let (sender, first_admin) = oneshot::channel();
    let mut sender = Some(sender);
    let shared = Shared::open(&settings, roles)?;
    let mut bound = Vec::new();
    for role in roles {
        bound.push(role.bind(&reloader, &shared, &mut sender)?);
    }
    drop(shared);
    let admin = admin::bind(&admin_address(&settings, roles, &bound), &settings.token(), &bound)?;
    let turns = roles.iter().map(Role::stop_turn).chain([LAST_STOP_TURN]);
    let bound: Vec<Bound> = bound.into_iter().chain([admin]).collect();
    takeover::tell_unused();

    let rows = rows(&bound);
    let mut running: Vec<Running> =
        turns.zip(bound).map(|(turn, role)| start(turn, role, settings.process.grace)).collect();
    running.sort_by_key(|role| role.turn);

    let serving = async {
        let healths: Vec<Health> = rows.iter().map(|row| row.health.clone()).collect();
        match predecessor {
            None => wait_until_ready(&rows, greeting).await,
            Some(predecessor) => {
                if let Err(error) = takeover::finish(predecessor, &healths).await {
                    return End::NotTakenOver(error);
                }
            }
        }
        print_greeting(&settings, greeting, &rows, began.elapsed());
        tokio::select! {
            () = takeover::offer(place) => End::TakenOver,
            never = follow(source, &reloader, roles, &mut hangup) => match never {},
            never = print_first_admin(first_admin) => match never {},
        }
    };
    let end = tokio::select! {
        end = serving => end,
        () = signals.stop() => End::Asked,
        failure = first_end(&mut running) => End::Failed(failure),
    };
    process::handover::let_go();
    if matches!(end, End::TakenOver | End::NotTakenOver(_)) {
        running.iter().for_each(|role| role.shutdown.note_handed_over());
    }
    let stopping = stop(running, reloader.current().process.grace);
    let failures = tokio::select! {
        failures = stopping => failures,
        _ = signals.interrupt.recv() => anyhow::bail!("stopped at once by a second interrupt"),
    };
    let failure = match end {
        End::Asked | End::TakenOver => None,
        End::Failed(error) => Some(error.into()),
        End::NotTakenOver(error) => Some(error),
    };
    match failure.into_iter().chain(failures.into_iter().map(Into::into)).next() {
        Some(error) => Err(error),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The signals that ask a process to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn start(turn: u8, role: Bound, grace: Duration) -> Running {
    let shutdown = Shutdown::new(grace);
    let mut tasks = JoinSet::new();
    tasks.spawn(role.run(shutdown.clone()));
    Running { turn, shutdown, tasks }
}

/// Waits until a role ends by itself, which none should.
async fn first_end(running: &mut [Running]) -> RoleError {
    let ends = running.iter_mut().map(|role| Box::pin(role.tasks.join_next()));
    match futures_util::future::select_all(ends).await.0 {
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => RoleError::stopped("a role", panic),
        Some(Ok(Ok(()))) | None => RoleError::stopped("a role", "it ended by itself"),
    }
}

/// Stops the roles in turn within one grace, so that what answers outlives what asks.
async fn stop(mut running: Vec<Running>, grace: Duration) -> Vec<RoleError> {
    let deadline = tokio::time::Instant::now() + grace;
    let mut failures = Vec::new();
    while let Some(turn) = running.first().map(|role| role.turn) {
        let rest = running.split_off(running.partition_point(|role| role.turn == turn));
        for role in &running {
            role.shutdown.request_by(deadline);
        }
        for mut role in running {
            while let Some(end) = role.tasks.join_next().await {
                match end {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => failures.push(error),
                    Err(panic) => failures.push(RoleError::stopped("a role", panic)),
                }
            }
        }
        running = rest;
    }
    failures
}

/// The configured admin address, or the one that follows from what the process runs.
fn admin_address(settings: &Settings, roles: &[Role], bound: &[Bound]) -> String {
    if let Some(address) = &settings.process.admin {
        return address.clone();
    }
    match (roles, bound.first().and_then(Bound::address)) {
        ([role], Some(address)) if *role != Role::LoadBalancer => beside(address).to_string(),
        _ => HOUSE_ADMIN.to_owned(),
    }
}

/// The admin address beside a role's own: on loopback, the port + 10000, or any free port where that is none.
fn beside(address: SocketAddr) -> SocketAddr {
    let port = address.port().checked_add(ADMIN_PORT_OFFSET).unwrap_or(0);
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn rows(bound: &[Bound]) -> Vec<Row> {
    let each = bound.iter().flat_map(|role| role.listening.iter().map(move |listening| (role, listening)));
    each.map(|(role, listening)| Row {
        name: role.name.clone(),
        listening: listening.clone(),
        health: role.health.clone(),
    })
    .collect()
}

/// Prints the password of an administrator who had to be made, once, and then waits for ever.
async fn print_first_admin(first_admin: oneshot::Receiver<FirstAdmin>) -> Infallible {
    if let Ok(admin) = first_admin.await {
        let (name, password) = (admin.username, admin.password);
        terminal::say_once(format_args!(
            "  {name} was created with the password  {}\n  It is shown this once; SIXFOLD_ADMIN_PASSWORD \
             chooses it at the first start.\n",
            password.expose()
        ));
    }
    std::future::pending().await
}

/// Waits until the roles are ready: a house for all of them, a role alone only for itself, since what it
/// needs may be started after it.
async fn wait_until_ready(rows: &[Row], greeting: Greeting) {
    let is_awaited = |health: &Health| match greeting {
        Greeting::House => !health.is_serving(),
        Greeting::Role => health.state() == HealthState::Starting,
    };
    let all_ready = async {
        while rows.iter().any(|row| is_awaited(&row.health)) {
            tokio::time::sleep(READY_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(READY_WAIT, all_ready).await;
}

fn print_greeting(settings: &Settings, greeting: Greeting, rows: &[Row], took: Duration) {
    let state = |row: &Row| format!("{:?}", row.health.state()).to_lowercase();
    let address = |row: &Row| format!("{}://{}", row.listening.protocol, row.listening.address);
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| vec![row.name.clone(), address(row), state(row)]).collect();
    let (version, took_ms) = (env!("CARGO_PKG_VERSION"), took.as_millis());
    terminal::say(format_args!("sixfold {version} started in {took_ms} ms\n"));
    terminal::say(table::render(&["ROLE", "ADDRESS", "STATE"], &cells));
    if greeting == Greeting::House {
        let data =
            std::path::absolute(&settings.process.data).unwrap_or_else(|_| settings.process.data.clone());
        let entry = rows.first().map(|row| row.listening.address.to_string()).unwrap_or_default();
        terminal::say(format_args!(
            "  data  {}\n  try   curl http://{entry}/catalog/products\n        sixfold status\n  stop  Ctrl-C\n",
            data.display()
        ));
    }
}
