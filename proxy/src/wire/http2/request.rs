//! An HTTP/2 request as the HTTP/1 request that says the same (RFC 9113 §8.3, §8.2).
//!
//! h2 has refused what HTTP/2 itself forbids, such as fields of one connection or a control in a value. What is
//! written here is read again as strictly as any head that came in bytes, so that nothing rests on that alone.

use http::{Method, header};

use crate::host::is_host;
use crate::wire::Limits;
use crate::wire::buffer::Buffer;
use crate::wire::head::refusal::Refusal;
use crate::wire::head::request_head::{self, Request};

/// Brings a request's head into the form of HTTP/1 and reads it; `has_body` unless the stream ended with it.
pub(in crate::wire) fn read(
    head: &http::request::Parts,
    has_body: bool,
    limits: &Limits,
) -> Result<Request, Refusal> {
    let mut buffer = Buffer::default();
    write(&mut buffer, head, has_body)?;
    // A head that is not whole although it was written to its end has a fault.
    let mut request = request_head::parse(&mut buffer, limits)?.ok_or(Refusal::Field)?;
    request.note_http2();
    Ok(request)
}

fn write(output: &mut Buffer, head: &http::request::Parts, has_body: bool) -> Result<(), Refusal> {
    let http::request::Parts { method, uri, headers, .. } = head;
    if *method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') && path != "*" {
        return Err(Refusal::Target);
    }
    output.put_all(&[method.as_str().as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\n"]);
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        // Whoever checked one of the two may not have meant the other (RFC 9113 §8.3.1).
        let mut hosts = headers.get_all(header::HOST).iter();
        let is_same = hosts.next().is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(authority));
        if !is_host(authority) || !is_same || hosts.next().is_some() {
            return Err(Refusal::Host);
        }
        output.put_all(&[b"host: ", authority, b"\r\n"]);
    }
    let (mut cookies, mut has_length) = (0, false);
    for (name, value) in headers {
        match *name {
            header::HOST if authority.is_some() => continue,
            header::COOKIE => {
                cookies += 1;
                continue;
            }
            header::CONTENT_LENGTH => has_length = true,
            _ => {}
        }
        output.put_all(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if cookies > 0 {
        put_cookies(output, headers);
    }
    if !has_length {
        // Of these a server may want to be told that there is no content (RFC 9110 §8.6).
        let wants_length = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if has_body {
            output.put(b"transfer-encoding: chunked\r\n");
        } else if wants_length {
            output.put(b"content-length: 0\r\n");
        }
    }
    output.put(b"\r\n");
    Ok(())
}

/// Joins the cookies HTTP/2 may split (RFC 9113 §8.2.3).
fn put_cookies(output: &mut Buffer, headers: &http::HeaderMap) {
    for (index, cookie) in headers.get_all(header::COOKIE).iter().enumerate() {
        let before: &[u8] = if index == 0 { b"cookie: " } else { b"; " };
        output.put_all(&[before, cookie.as_bytes()]);
    }
    output.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: http::request::Builder, has_body: bool) -> Result<String, Refusal> {
        let (head, ()) = request.version(http::Version::HTTP_2).body(()).unwrap().into_parts();
        let mut output = Buffer::default();
        write(&mut output, &head, has_body)?;
        Ok(String::from_utf8(output.filled().to_vec()).unwrap())
    }

    #[test]
    fn a_request_says_the_same_in_http_1() {
        let request = http::Request::get("http://shop.example/a?b")
            .header("cookie", "a=1")
            .header("x", "y")
            .header("cookie", "b=2; c=3");
        let head = "GET /a?b HTTP/1.1\r\nhost: shop.example\r\nx: y\r\ncookie: a=1; b=2; c=3\r\n\r\n";
        assert_eq!(written(request, false).unwrap(), head);
    }

    #[test]
    fn a_body_without_a_length_goes_in_chunks_and_none_is_told_where_one_could_be() {
        let ends = |method: &str, has_body| {
            written(http::Request::builder().method(method).uri("http://a/"), has_body).unwrap()
        };
        assert!(ends("GET", true).ends_with("transfer-encoding: chunked\r\n\r\n"));
        assert!(ends("POST", false).ends_with("content-length: 0\r\n\r\n"));
        assert!(ends("GET", false).ends_with("host: a\r\n\r\n"));
        let told = http::Request::post("http://a/").header("content-length", "5");
        assert!(written(told, true).unwrap().ends_with("host: a\r\ncontent-length: 5\r\n\r\n"));
    }

    #[test]
    fn two_hosts_or_a_tunnel_are_refused() {
        let with_host = |host: &str| written(http::Request::get("http://a/").header("host", host), false);
        assert!(with_host("A").is_ok());
        assert_eq!(with_host("b"), Err(Refusal::Host));
        assert_eq!(written(http::Request::get("http://user@a/"), false), Err(Refusal::Host));
        assert_eq!(written(http::Request::connect("a:80"), false), Err(Refusal::Connect));
    }
}
