//! An HTTP/1 request parser that forgives nothing, to judge what reached a backend.
//!
//! It shares no code with what is tested: RFC 9112 read by hand, every leniency it allows a server left out.
//! Where two parsers could disagree about where a message ends, this one says [`Parsed::Ambiguous`].

/// What the bytes of a connection begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request, and how many bytes it takes.
    Request(Request, usize),
    /// The beginning of a request that is unambiguous so far.
    Incomplete,
    /// Something that another parser could read in another way, and why.
    Ambiguous(String),
}

/// Names in lower case and values, bytes beyond UTF-8 replaced.
type Fields = Vec<(String, String)>;

/// A request as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, in origin form or `*`.
    pub target: String,
    /// The fields in their order, names in lower case.
    pub fields: Fields,
    /// The body, without its chunks.
    pub body: Vec<u8>,
    /// The fields after the last chunk.
    pub trailers: Fields,
}

impl Request {
    /// Gives the value of a field, as text.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }
}

/// Reads the request at the beginning of a connection's bytes.
pub fn parse_request(bytes: &[u8]) -> Parsed {
    match read_request(bytes) {
        Ok(Some((request, length))) => Parsed::Request(request, length),
        Ok(None) => Parsed::Incomplete,
        Err(why) => Parsed::Ambiguous(why),
    }
}

/// How the body is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

/// A cursor over the bytes of a connection.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a line that ends in CRLF and holds no other control character but tabs.
    fn line(&mut self) -> Result<Option<&'a [u8]>, String> {
        let rest = &self.bytes[self.at..];
        let control = rest.iter().position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f);
        let Some(end) = control else { return Ok(None) };
        match (rest[end], rest.get(end + 1)) {
            (b'\r', Some(b'\n')) => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            (b'\r', None) => Ok(None),
            (byte, _) => Err(format!("byte {byte:#04x} in a line")),
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes[self.at..].get(..length)?;
        self.at += length;
        Some(taken)
    }

    /// Reads fields up to and with the empty line.
    fn fields(&mut self) -> Result<Option<Fields>, String> {
        let mut fields = Fields::new();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                return Ok(Some(fields));
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a field line without a colon")?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(format!("the field name {:?}", String::from_utf8_lossy(name)));
            }
            let value = String::from_utf8_lossy(value.trim_ascii()).into_owned();
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
        }
    }
}

fn read_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let mut reader = Reader { bytes, at: 0 };
    let Some(line) = reader.line()? else { return Ok(None) };
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = parts[..] else {
        return Err(format!("the request line {:?}", String::from_utf8_lossy(line)));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err("the method is no token".to_owned());
    }
    let is_plain = target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    if !(target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS")) || !is_plain {
        return Err(format!("the target {:?}", String::from_utf8_lossy(target)));
    }
    let Some(fields) = reader.fields()? else { return Ok(None) };
    let framing = framing(&fields)?;
    check_others(&fields)?;
    let (body, trailers) = match framing {
        Framing::Length(length) => match reader.take(length) {
            Some(body) => (body.to_vec(), Fields::new()),
            None => return Ok(None),
        },
        Framing::Chunked => match chunks(&mut reader)? {
            Some(read) => read,
            None => return Ok(None),
        },
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = Request { method: text(method), target: text(target), fields, body, trailers };
    Ok(Some((request, reader.at)))
}

fn framing(fields: &Fields) -> Result<Framing, String> {
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    };
    match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [length]) => {
            let is_plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|_| is_plain);
            length.map(Framing::Length).ok_or_else(|| "the Content-Length is no plain number".to_owned())
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (codings, lengths) => {
            Err(format!("{} Transfer-Encoding and {} Content-Length", codings.len(), lengths.len()))
        }
    }
}

/// Refuses what does not frame a message and still misleads a backend.
fn check_others(fields: &Fields) -> Result<(), String> {
    let hosts: Vec<_> = fields.iter().filter(|(name, _)| name == "host").collect();
    let [(_, host)] = hosts[..] else { return Err(format!("{} Host fields", hosts.len())) };
    // No comma, though a name may have one: two `Host` fields joined by somebody look like that.
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]~!$&'()*+;=%".contains(&byte);
    if !host.bytes().all(in_host) {
        return Err(format!("the Host {host:?}"));
    }
    for (name, value) in fields {
        let value = value.to_ascii_lowercase();
        let mut members = value.split(',').map(str::trim);
        if name == "connection"
            && members.any(|member| ["content-length", "transfer-encoding", "host"].contains(&member))
        {
            return Err(format!("Connection: {value} asks to forget what frames or addresses the message"));
        }
        if name == "upgrade" && value.contains("h2c") {
            return Err(format!("{name}: {value} asks for a tunnel of HTTP/2"));
        }
    }
    Ok(())
}

fn chunks(reader: &mut Reader<'_>) -> Result<Option<(Vec<u8>, Fields)>, String> {
    let mut body = Vec::new();
    loop {
        let Some(line) = reader.line()? else { return Ok(None) };
        // Fifteen digits cannot overflow; a chunk extension is allowed by the RFC and passed on by nobody careful.
        if line.is_empty() || line.len() > 15 || !line.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("the chunk size {:?}", String::from_utf8_lossy(line)));
        }
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(line), 16).map_err(|error| error.to_string())?;
        if size == 0 {
            break;
        }
        let Some(data) = reader.take(size) else { return Ok(None) };
        body.extend_from_slice(data);
        match reader.line()? {
            None => return Ok(None),
            Some(b"") => {}
            Some(_) => return Err("bytes between a chunk and its CRLF".to_owned()),
        }
    }
    let Some(trailers) = reader.fields()? else { return Ok(None) };
    let forbidden = ["content-length", "transfer-encoding", "host", "trailer", "authorization", "connection"];
    match trailers.iter().find(|(name, _)| forbidden.contains(&name.as_str())) {
        Some((name, _)) => Err(format!("the trailer {name}")),
        None => Ok(Some((body, trailers))),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_is_read_to_its_end() {
        let bytes = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET";
        let Parsed::Request(request, length) = parse_request(bytes) else { panic!("it is one") };
        assert_eq!(
            (request.target.as_str(), request.body.as_slice(), length),
            ("/x", &b"ok"[..], bytes.len() - 3)
        );
        let bytes =
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n";
        let Parsed::Request(request, length) = parse_request(bytes) else { panic!("it is one") };
        assert_eq!((request.body.as_slice(), length, request.trailers.len()), (&b"ok"[..], bytes.len(), 1));
        for end in 0..bytes.len() {
            assert_eq!(parse_request(&bytes[..end]), Parsed::Incomplete, "{end}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_ambiguous() {
        for bytes in [
            &b"GET /x HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
            b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        ] {
            let parsed = parse_request(bytes);
            assert!(
                matches!(parsed, Parsed::Ambiguous(_)),
                "{parsed:?} {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
