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

    pub(in crate::wire) fn lines(&self) -> &[u8] {
        &self.0
    }

    /// Gives the lines' names and values.
    pub(in crate::wire) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        // A value holds no line feed, and a name no colon.
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 2..].strip_suffix(b"\r")?))
        })
    }

    /// Gives the number of lines.
    pub(in crate::wire) fn count(&self) -> usize {
        self.iter().count()
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

    #[test]
    fn lines_come_apart_as_they_were_put_in() {
        let mut added = AddedFields::default();
        added.push("a", b"b: c");
        added.push("d", b"");
        let expected: [(&[u8], &[u8]); 2] = [(b"a", b"b: c"), (b"d", b"")];
        assert!(added.iter().eq(expected));
    }
}
