//! The declared subset of Redis' commands, one row each, and what refuses the rest.

mod connection;
mod counters;
mod expiry;
mod glob;
mod keyspace;
mod strings;

use std::borrow::Cow;
use std::fmt;

use super::parse::Arguments;
use super::reply::Replies;
use super::{Server, Session};
use crate::store::AddError;

/// How much of an unknown command and its arguments an error repeats, in bytes (Redis' 128).
const REPEATED_LIMIT: usize = 128;

/// One command.
struct Command {
    /// Its name in lower case.
    name: &'static str,
    /// How many arguments it takes with its name; negative: at least so many (Redis' own convention).
    arity: i32,
    /// Whether it may be called before authenticating.
    is_open: bool,
    run: fn(&mut Call<'_>) -> Result<(), Refusal>,
}

const fn row(name: &'static str, arity: i32, run: fn(&mut Call<'_>) -> Result<(), Refusal>) -> Command {
    Command { name, arity, is_open: false, run }
}

const fn open(name: &'static str, arity: i32, run: fn(&mut Call<'_>) -> Result<(), Refusal>) -> Command {
    Command { name, arity, is_open: true, run }
}

/// Every command; the most frequent first, since a call looks from the start.
const COMMANDS: &[Command] = &[
    row("get", 2, strings::get),
    row("set", -3, strings::set),
    row("mget", -2, strings::get_many),
    row("mset", -3, strings::set_many),
    row("del", -2, keyspace::remove),
    row("unlink", -2, keyspace::remove),
    row("exists", -2, keyspace::count_present),
    row("incr", 2, counters::increment),
    row("incrby", 3, counters::increment_by),
    row("decr", 2, counters::decrement),
    row("decrby", 3, counters::decrement_by),
    row("expire", -3, expiry::expire_seconds),
    row("pexpire", -3, expiry::expire_millis),
    row("ttl", 2, expiry::seconds_left),
    row("pttl", 2, expiry::millis_left),
    row("scan", -2, keyspace::scan),
    row("dbsize", 1, keyspace::count_entries),
    row("flushdb", -1, keyspace::clear),
    row("ping", -1, connection::ping),
    row("echo", 2, connection::echo),
    row("select", 2, connection::select),
    row("client", -2, connection::client),
    row("command", -1, connection::command),
    row("info", -1, connection::info),
    open("auth", -2, connection::authenticate),
    open("hello", -1, connection::hello),
    open("quit", -1, connection::quit),
];

/// One call of a command.
pub(super) struct Call<'a> {
    pub(super) server: &'a Server,
    pub(super) session: &'a mut Session,
    pub(super) arguments: Arguments<'a>,
    pub(super) now_ms: u64,
    pub(super) replies: &'a mut Replies,
}

impl<'a> Call<'a> {
    /// Gives an argument; the command's name is the first.
    fn argument(&self, place: usize) -> &'a [u8] {
        self.arguments.get(place)
    }

    fn integer(&self, place: usize) -> Result<i64, Refusal> {
        crate::store::parse_integer(self.argument(place)).ok_or(Refusal::NotInteger)
    }

    /// Tells whether an argument is this word, in any case.
    fn is(&self, place: usize, word: &str) -> bool {
        self.argument(place).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// Why a command was not done; the text is Redis' own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The options make no sense.
    Syntax,
    /// An argument or a value is no number of 64 bits.
    NotInteger,
    /// A counter would overflow.
    Overflow,
    /// A time to live is not positive or too long.
    ExpireTime(&'static str),
    /// Too many or too few arguments.
    Arity(Cow<'static, str>),
    /// Another text, with its code.
    Other(Cow<'static, str>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("ERR syntax error"),
            Self::NotInteger => f.write_str("ERR value is not an integer or out of range"),
            Self::Overflow => f.write_str("ERR increment or decrement would overflow"),
            Self::ExpireTime(command) => write!(f, "ERR invalid expire time in '{command}' command"),
            Self::Arity(command) => write!(f, "ERR wrong number of arguments for '{command}' command"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<AddError> for Refusal {
    fn from(error: AddError) -> Self {
        match error {
            AddError::NotInteger => Self::NotInteger,
            AddError::Overflow => Self::Overflow,
        }
    }
}

/// Does one command and writes its reply.
pub(super) fn execute(mut call: Call<'_>) {
    if let Err(refusal) = dispatch(&mut call) {
        call.replies.error(&refusal.to_string());
    }
}

fn dispatch(call: &mut Call<'_>) -> Result<(), Refusal> {
    let name = call.argument(0);
    let Some(command) = COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
    else {
        return Err(refuse_unknown(call));
    };
    let count = i32::try_from(call.arguments.len()).unwrap_or(i32::MAX);
    let fits = if command.arity < 0 { count >= -command.arity } else { count == command.arity };
    if !fits {
        return Err(Refusal::Arity(command.name.into()));
    }
    if !command.is_open && !call.session.is_trusted(call.server) {
        return Err(Refusal::Other("NOAUTH Authentication required.".into()));
    }
    (command.run)(call)
}

fn refuse_unknown(call: &mut Call<'_>) -> Refusal {
    let name = call.argument(0);
    // A browser made to send HTTP here must not get further: what follows could be commands (as in Redis).
    if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
        call.session.is_closing = true;
    }
    let shorten =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(REPEATED_LIMIT)]).into_owned();
    let mut repeated = String::new();
    for argument in call.arguments.from(1) {
        if repeated.len() >= REPEATED_LIMIT {
            break;
        }
        repeated.push_str(&format!("'{}' ", shorten(argument)));
    }
    let text = format!("ERR unknown command '{}', with args beginning with: {repeated}", shorten(name));
    Refusal::Other(text.into())
}
