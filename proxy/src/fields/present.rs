//! Which of the fields that need care a message has, found in one pass over its names.
//!
//! Most messages have hardly any of them. Asking a header map for each in turn would cost a hash and a
//! probe every time, on every message.

use http::HeaderMap;

use crate::imitation::imitates;

/// A set of fields; what is not named here needs no care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u16);

impl Present {
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const TE: Self = Self(1 << 1);
    pub(super) const KEEP_ALIVE: Self = Self(1 << 2);
    pub(super) const PROXY_CONNECTION: Self = Self(1 << 3);
    pub(super) const UPGRADE: Self = Self(1 << 4);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 5);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 6);
    pub(super) const EXPECT: Self = Self(1 << 7);
    pub(super) const FORWARDED: Self = Self(1 << 8);
    pub(super) const FORWARDED_FOR: Self = Self(1 << 9);
    pub(super) const FORWARDED_PROTO: Self = Self(1 << 10);
    pub(super) const FORWARDED_HOST: Self = Self(1 << 11);
    pub(super) const REAL_IP: Self = Self(1 << 12);
    pub(super) const PROXY_AUTHORIZATION: Self = Self(1 << 13);
    pub(super) const IMITATION: Self = Self(1 << 14);
    pub(super) const VIA: Self = Self(1 << 15);

    /// Fields that say where a body ends.
    pub(super) const FRAMING: Self = Self(Self::TRANSFER_ENCODING.0 | Self::CONTENT_LENGTH.0);

    /// Fields that belong to one connection.
    pub(super) const HOP_BY_HOP: Self = Self(
        Self::CONNECTION.0
            | Self::TE.0
            | Self::KEEP_ALIVE.0
            | Self::PROXY_CONNECTION.0
            | Self::PROXY_AUTHORIZATION.0
            | Self::UPGRADE.0,
    );

    /// Looks through a message's names.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        fields.keys().fold(Self(0), |found, name| {
            let field = match name.as_str() {
                "connection" => Self::CONNECTION,
                "te" => Self::TE,
                "keep-alive" => Self::KEEP_ALIVE,
                "proxy-connection" => Self::PROXY_CONNECTION,
                "upgrade" => Self::UPGRADE,
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                "content-length" => Self::CONTENT_LENGTH,
                "expect" => Self::EXPECT,
                "forwarded" => Self::FORWARDED,
                "x-forwarded-for" => Self::FORWARDED_FOR,
                "x-forwarded-proto" => Self::FORWARDED_PROTO,
                "x-forwarded-host" => Self::FORWARDED_HOST,
                "x-real-ip" => Self::REAL_IP,
                "proxy-authorization" => Self::PROXY_AUTHORIZATION,
                "via" => Self::VIA,
                other if imitates(other.as_bytes()) => Self::IMITATION,
                _ => Self(0),
            };
            Self(found.0 | field.0)
        })
    }

    /// Tells whether any of these fields is there.
    pub(super) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_nothing_else() {
        let mut fields = HeaderMap::new();
        fields.insert("Host", "a".parse().unwrap());
        assert!(!Present::of(&fields).any(Present(u16::MAX)));
        fields.append("TE", "trailers".parse().unwrap());
        fields.append("te", "gzip".parse().unwrap());
        fields.insert("X-Forwarded-Host", "b".parse().unwrap());
        let present = Present::of(&fields);
        assert!(present.any(Present::TE) && present.any(Present::HOP_BY_HOP));
        assert!(present.any(Present::FORWARDED_HOST));
        assert!(!present.any(Present::FRAMING) && !present.any(Present::FORWARDED_FOR));
    }
}
