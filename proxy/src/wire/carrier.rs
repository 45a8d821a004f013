//! What a request goes by to its backend, and its response back.

use super::body::inflow::Inflow;
use super::body::relay::Source;
use super::buffer::Buffer;
use super::multiplex::Call;
use super::upstream::Link;

/// A connection of HTTP/1, or one stream of HTTP/2.
#[derive(Debug)]
pub(super) enum Carrier {
    Link(Box<Link>),
    Call(Box<Call>),
}

impl Carrier {
    /// Gives what was received and not passed on.
    pub(super) fn input(&self) -> &Buffer {
        match self {
            Self::Link(link) => &link.input,
            Self::Call(call) => &call.input,
        }
    }

    /// As [`Carrier::input`].
    pub(super) fn input_mut(&mut self) -> &mut Buffer {
        match self {
            Self::Link(link) => &mut link.input,
            Self::Call(call) => &mut call.input,
        }
    }

    /// Gives how the body of a response is read to be written in bytes.
    pub(super) fn source_of_bytes(&self, body: Source) -> Source {
        match (self, body) {
            // It ends with its stream.
            (Self::Call(_), Source::Length(_)) => Source::UntilClose,
            _ => body,
        }
    }

    /// Begins to move the body of a response in frames.
    pub(super) fn begin_frames(&self, body: Source) -> Inflow {
        match self {
            Self::Call(_) if !body.has_ended() => Inflow::of_frames(),
            _ => Inflow::new(body),
        }
    }

    /// Tells whether it is found out besides when the backend is gone, so that a body may stand still for as long
    /// as the backend likes: over HTTP/2 it is asked by `PING`.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Call(_))
    }
}
