//! What the kernel tells of connections; for both binaries of these tests.

/// Tells whether a connection between such ports, ours and the other end's, has the timer of keepalive (proc(5),
/// `/proc/net/tcp`). Another timer runs until what was sent is known to have come.
#[cfg(target_os = "linux")]
pub(crate) fn is_kept_alive(is_it: impl Fn(u16, u16) -> bool) -> bool {
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    connections.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        is_it(port(columns[1]), port(columns[2])) && columns[5].starts_with("02:")
    })
}
