//! Chunked bodies: sizes, extensions, line ends, trailers.

use crate::judge::Verdict::{self, CutOff, Either, Forwarded, Nothing};
use crate::judge::{Case, POST, SMUGGLED, post};

fn chunked(name: &'static str, body: impl AsRef<str>, verdict: Verdict) -> Case {
    post(name, b"Transfer-Encoding: chunked", body.as_ref(), verdict)
}

pub(crate) fn cases() -> Vec<Case> {
    let end = format!("\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    let size = |name, size: &str, verdict| chunked(name, format!("{size}{end}"), verdict);
    let mut cases = vec![
        size("chunk size of 17 digits", "10000000000000005", CutOff),
        size("chunk size of two to the 64 less one", "FFFFFFFFFFFFFFFF", Nothing),
        size("chunk size of 40 digits", "5000000000000000000000000000000000000000", CutOff),
        size("chunk size negative", "-5", CutOff),
        size("chunk size with plus", "+5", CutOff),
        size("chunk size with 0x", "0x5", CutOff),
        size("chunk size after a space", " 5", CutOff),
        size("chunk size empty", "", CutOff),
        size("chunk size that is no digit", "g", CutOff),
        size("chunk size with a letter behind", "5g", CutOff),
        size("chunk size with a comma", "5,", CutOff),
        size("chunk size after a NUL", "\u{0}5", CutOff),
        size("chunk size before a vertical tab", "5\u{b}", CutOff),
        size("chunk size in quotes", "\"5\"", CutOff),
        size("chunk extension with a bare LF", "5;a\nb", CutOff),
        size("chunk extension with a bare CR", "5;a\rb", CutOff),
        size("chunk extension with a quoted LF", "5;a=\"\n\"", CutOff),
        chunked("chunk extension of 64 KiB", format!("5;{}{end}", "a".repeat(64 << 10)), CutOff),
        chunked(
            "chunk extensions of 64 KiB in small chunks",
            format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(60)).repeat(1100)),
            CutOff,
        ),
        chunked("chunk size line ended by a bare LF", format!("5\nhello\r\n0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("chunk size line ended by a bare CR", format!("5\rhello\r\n0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("chunk without its CRLF", format!("5\r\nhello0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("chunk ended by a bare LF", format!("5\r\nhello\n0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("chunk ended by a bare CR", format!("5\r\nhello\r0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked(
            "chunk ended by two bytes that are no CRLF",
            format!("5\r\nhelloXX0\r\n\r\n{SMUGGLED}"),
            CutOff,
        ),
        chunked("chunk shorter than its data", format!("4\r\nhello\r\n0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("last chunk line ended by a bare LF", format!("5\r\nhello\r\n0\n\r\n{SMUGGLED}"), CutOff),
        chunked("last chunk with another end", format!("5\r\nhello\r\n0\r\nX{SMUGGLED}"), CutOff),
        chunked(
            "trailer with a space before its colon",
            format!("5\r\nhello\r\n0\r\nX : y\r\n\r\n{SMUGGLED}"),
            CutOff,
        ),
        chunked("trailer with a NUL", format!("5\r\nhello\r\n0\r\nX: \0\r\n\r\n{SMUGGLED}"), CutOff),
        chunked("trailer folded", format!("5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n{SMUGGLED}"), CutOff),
        chunked(
            "trailers of 1 MiB",
            format!("5\r\nhello\r\n0\r\n{}\r\n{SMUGGLED}", "X: y\r\n".repeat(180_000)),
            CutOff,
        ),
    ];
    let one = Forwarded(&[POST]);
    cases.extend([
        chunked("chunk extension", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", one),
        chunked("chunk size with leading zeros", "0005\r\nhello\r\n000\r\n\r\n", one),
        chunked("chunk size in upper case, many chunks", "1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n", one),
        chunked("chunk extension with a NUL", "5;a\0\r\nhello\r\n0\r\n\r\n", Either(POST)),
        chunked("chunk size before a space", "5 \r\nhello\r\n0\r\n\r\n", Either(POST)),
        chunked("a trailer", "5\r\nhello\r\n0\r\nX: y\r\n\r\n", one),
        chunked("trailer Content-Length", "5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n", Either(POST)),
        chunked(
            "trailer Transfer-Encoding",
            "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Either(POST),
        ),
        chunked("trailer Host", "5\r\nhello\r\n0\r\nHost: b\r\n\r\n", Either(POST)),
        chunked("trailer Authorization", "5\r\nhello\r\n0\r\nAuthorization: b\r\n\r\n", Either(POST)),
    ]);
    cases
}
