//! Field lines a handler adds to a response.

/// Field lines to add to a response, written into one reusable buffer.
#[derive(Debug, Default, Clone)]
pub struct AddedFields(Vec<u8>);

impl AddedFields {
    /// Forgets all lines but keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a line. What a field value must not hold (CR, LF, other controls) is left out.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend(value.iter().filter(|byte| **byte >= b' ' && **byte != 0x7f));
        self.0.extend_from_slice(b"\r\n");
    }

    pub(super) fn lines(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_begin_another_line() {
        let mut added = AddedFields::default();
        added.push("Server-Timing", b"a\r\nSet-Cookie: b");
        assert_eq!(added.lines(), b"Server-Timing: aSet-Cookie: b\r\n");
    }
}
