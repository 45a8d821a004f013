//! The connection and the server: `PING`, `ECHO`, `AUTH`, `HELLO`, `SELECT`, `CLIENT`, `COMMAND`, `INFO`, `QUIT`.

use super::{COMMANDS, Call, Refusal};
use crate::resp::reply::Protocol;
use crate::store::parse_integer;

/// The Redis version whose behaviour the subset follows; client libraries read it to choose features.
const REDIS_VERSION: &str = "7.2.4";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

pub(super) fn ping(call: &mut Call<'_>) -> Result<(), Refusal> {
    match call.arguments.len() {
        1 => call.replies.simple("PONG"),
        2 => call.replies.bulk(call.argument(1)),
        _ => return Err(Refusal::Arity("ping".into())),
    }
    Ok(())
}

pub(super) fn echo(call: &mut Call<'_>) -> Result<(), Refusal> {
    call.replies.bulk(call.argument(1));
    Ok(())
}

pub(super) fn select(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.integer(1)? != 0 {
        return Err(Refusal::Other("ERR DB index is out of range".into()));
    }
    call.replies.simple("OK");
    Ok(())
}

pub(super) fn quit(call: &mut Call<'_>) -> Result<(), Refusal> {
    call.session.is_closing = true;
    call.replies.simple("OK");
    Ok(())
}

pub(super) fn authenticate(call: &mut Call<'_>) -> Result<(), Refusal> {
    let (user, password) = match call.arguments.len() {
        2 => (b"default".as_slice(), call.argument(1)),
        3 => (call.argument(1), call.argument(2)),
        _ => return Err(Refusal::Syntax),
    };
    if call.arguments.len() == 2 && !call.server.token.is_set() {
        let text = "ERR AUTH <password> called without any password configured for the default user. \
                    Are you sure your configuration is correct?";
        return Err(Refusal::Other(text.into()));
    }
    check_password(call, user, password)?;
    call.replies.simple("OK");
    Ok(())
}

/// The only user is `default`, and its password is the cluster token.
fn check_password(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result<(), Refusal> {
    let is_right = std::str::from_utf8(password).is_ok_and(|password| call.server.token.matches(password));
    if user != b"default" || !is_right {
        return Err(Refusal::Other(WRONG_PASSWORD.into()));
    }
    call.session.is_authenticated = true;
    Ok(())
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`: nothing changes unless all of it is right.
pub(super) fn hello(call: &mut Call<'_>) -> Result<(), Refusal> {
    let mut protocol = call.replies.protocol();
    if call.arguments.len() > 1 {
        protocol = match parse_integer(call.argument(1)) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(Refusal::Other("NOPROTO unsupported protocol version".into())),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(Refusal::Other(text.into()));
            }
        };
    }
    let (mut name, mut place) = (None, 2);
    while place < call.arguments.len() {
        let following = call.arguments.len() - place - 1;
        if call.is(place, "auth") && following >= 2 {
            check_password(call, call.argument(place + 1), call.argument(place + 2))?;
            place += 3;
        } else if call.is(place, "setname") && following >= 1 {
            name = Some(checked_name(call.argument(place + 1))?);
            place += 2;
        } else {
            let option = String::from_utf8_lossy(call.argument(place));
            return Err(Refusal::Other(format!("ERR Syntax error in HELLO option '{option}'").into()));
        }
    }
    if !call.session.is_trusted(call.server) {
        let text = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                    <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                    RESP protocol version at the same time";
        return Err(Refusal::Other(text.into()));
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    call.replies.set_protocol(protocol);
    let replies = &mut *call.replies;
    replies.map(7);
    for (key, value) in
        [("server", "redis"), ("version", REDIS_VERSION), ("mode", "standalone"), ("role", "master")]
    {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"proto");
    replies.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    replies.bulk(b"id");
    replies.integer(call.session.id);
    replies.bulk(b"modules");
    replies.array(0);
    Ok(())
}

pub(super) fn client(call: &mut Call<'_>) -> Result<(), Refusal> {
    let count = call.arguments.len();
    let expect = |expected: usize, name: &'static str| {
        if count == expected { Ok(()) } else { Err(Refusal::Arity(name.into())) }
    };
    if call.is(1, "setinfo") {
        expect(4, "client|setinfo")?;
        if !call.is(2, "lib-name") && !call.is(2, "lib-ver") {
            let option = String::from_utf8_lossy(call.argument(2));
            return Err(Refusal::Other(format!("ERR Unrecognized option '{option}'").into()));
        }
        call.replies.simple("OK");
    } else if call.is(1, "setname") {
        expect(3, "client|setname")?;
        call.session.name = checked_name(call.argument(2))?;
        call.replies.simple("OK");
    } else if call.is(1, "getname") {
        expect(2, "client|getname")?;
        match call.session.name.is_empty() {
            true => call.replies.null(),
            false => call.replies.bulk(&call.session.name),
        }
    } else if call.is(1, "id") {
        expect(2, "client|id")?;
        call.replies.integer(call.session.id);
    } else {
        return Err(unknown_subcommand(call, "CLIENT"));
    }
    Ok(())
}

/// A name is shown in lists separated by spaces, so it holds none (Redis' rule).
fn checked_name(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(name.to_vec());
    }
    Err(Refusal::Other("ERR Client names cannot contain spaces, newlines or special characters.".into()))
}

/// What client libraries and `redis-cli` ask at their start; the details of each command are left out.
pub(super) fn command(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.arguments.len() == 1 {
        call.replies.array(0);
    } else if call.is(1, "count") {
        call.replies.integer(COMMANDS.len() as i64);
    } else if call.is(1, "docs") {
        call.replies.map(0);
    } else if call.is(1, "list") {
        call.replies.array(COMMANDS.len());
        for command in COMMANDS {
            call.replies.bulk(command.name.as_bytes());
        }
    } else if call.is(1, "info") {
        let names = call.arguments.from(2).len();
        call.replies.array(names);
        for _ in 0..names {
            call.replies.null();
        }
    } else {
        return Err(unknown_subcommand(call, "COMMAND"));
    }
    Ok(())
}

fn unknown_subcommand(call: &Call<'_>, command: &str) -> Refusal {
    let name = String::from_utf8_lossy(call.argument(1));
    Refusal::Other(format!("ERR unknown subcommand '{name}'. Try {command} HELP.").into())
}

/// Writes the sections asked for, or all.
pub(super) fn info(call: &mut Call<'_>) -> Result<(), Refusal> {
    let statistics = call.server.store.statistics();
    let sections = [
        (
            "Server",
            format!(
                "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nserver_name:sixfold\r\n\
                 sixfold_version:{}\r\nprocess_id:{}\r\nuptime_in_seconds:{}\r\n",
                env!("CARGO_PKG_VERSION"),
                std::process::id(),
                call.now_ms / 1000,
            ),
        ),
        (
            "Clients",
            format!(
                "connected_clients:{}\r\nmaxclients:{}\r\n",
                call.server.connected(),
                call.server.connections_limit
            ),
        ),
        (
            "Memory",
            format!(
                "used_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:allkeys-lfu\r\n",
                statistics.bytes, statistics.bytes_limit
            ),
        ),
        ("Persistence", "loading:0\r\n".to_owned()),
        (
            "Stats",
            format!(
                "keyspace_hits:{}\r\nkeyspace_misses:{}\r\nevicted_keys:{}\r\nexpired_keys:{}\r\n",
                statistics.hits, statistics.misses, statistics.evictions, statistics.expirations
            ),
        ),
        ("Replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
        (
            "Keyspace",
            match statistics.entries {
                0 => String::new(),
                entries => format!("db0:keys={entries},expires=0,avg_ttl=0\r\n"),
            },
        ),
    ];
    let wanted = |name: &str| {
        let mut asked = call.arguments.from(1);
        let all = ["all", "default", "everything", name];
        asked.len() == 0
            || asked.any(|section| all.iter().any(|word| section.eq_ignore_ascii_case(word.as_bytes())))
    };
    let text: Vec<String> = sections
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, lines)| format!("# {name}\r\n{lines}"))
        .collect();
    call.replies.text(&text.join("\r\n"));
    Ok(())
}
