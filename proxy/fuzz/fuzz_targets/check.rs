//! What would be forwarded is read again by another parser (httparse, and a chunk reader written for this), and
//! must be one request with the same body.

/// Panics unless the bytes are one request that carries this body.
pub fn check(bytes: &[u8], body: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes).expect("another parser reads it");
    let httparse::Status::Complete(end) = parsed else { panic!("the head is not whole") };
    assert_eq!(request.version, Some(1));
    let head = &bytes[..end];
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(head[at + 1], b'\n', "a bare CR"),
            0 => panic!("a NUL"),
            _ => {}
        }
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    assert_eq!(values("host").len(), 1);
    assert_eq!(values("x-forwarded-for"), [b"127.0.0.1"]);
    assert_eq!(values("traceparent").len(), 1);
    assert!(values("proxy-authorization").is_empty() && values("keep-alive").is_empty());
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let rest = &bytes[end..];
    match (&lengths[..], &codings[..]) {
        ([], []) => assert!(rest.is_empty() && body.is_empty()),
        ([length], []) => {
            let length: usize = std::str::from_utf8(length).expect("digits").parse().expect("a number");
            assert_eq!((rest.len(), rest), (length, body));
        }
        ([], [coding]) => {
            assert_eq!(*coding, b"chunked");
            assert_eq!(read_chunks(rest), body);
        }
        _ => panic!("two ways to find the end"),
    }
}

/// Reads a chunked body to its end, which must be the end of the bytes.
fn read_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&bytes[..line]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size and nothing else");
        bytes = &bytes[line + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[..size]);
        assert_eq!(&bytes[size..size + 2], b"\r\n");
        bytes = &bytes[size + 2..];
    }
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a trailer or the end");
        bytes = &bytes[line + 2..];
        if line == 0 {
            break;
        }
    }
    assert!(bytes.is_empty(), "something follows the request");
    body
}
