//! A little name server over UDP and TCP that answers as told.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// A running name server.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<(String, RecordType), (u32, Vec<RData>)>,
    fault: Option<ResponseCode>,
    is_silent: bool,
    is_truncating: bool,
    asked: usize,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let mut tasks = JoinSet::new();
        let of_udp = Arc::clone(&zone);
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                if let Some(answer) = of_udp.lock().unwrap().answer(&buffer[..length], true) {
                    let _ = udp.try_send_to(&answer, from);
                }
            }
        });
        let of_tcp = Arc::clone(&zone);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let zone = Arc::clone(&of_tcp);
                connections.spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.unwrap();
                        let answer = zone.lock().unwrap().answer(&question, false);
                        let Some(answer) = answer else { return };
                        stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        Self { address, zone, _tasks: tasks }
    }

    /// Sets the addresses of a name; none at all means NXDOMAIN.
    pub(crate) fn set(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let data = addresses.iter().map(|ip| RData::A(A(*ip))).collect();
        self.zone.lock().unwrap().set(name, RecordType::A, ttl, data);
    }

    /// Sets the addresses of a name of the other family.
    pub(crate) fn set_v6(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let data = addresses.iter().map(|ip| match ip {
            IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            IpAddr::V4(_) => unreachable!(),
        });
        self.zone.lock().unwrap().set(name, RecordType::AAAA, ttl, data.collect());
    }

    /// Sets the targets of a service, as priority, weight, port and host.
    pub(crate) fn set_service(&self, name: &str, ttl: u32, targets: &[(u16, u16, u16, &str)]) {
        let data = targets.iter().map(|(priority, weight, port, host)| {
            RData::SRV(SRV::new(*priority, *weight, *port, Name::from_ascii(host).unwrap()))
        });
        self.zone.lock().unwrap().set(name, RecordType::SRV, ttl, data.collect());
    }

    /// Refuses everything, or nothing again.
    pub(crate) fn fail(&self, fault: Option<ResponseCode>) {
        self.zone.lock().unwrap().fault = fault;
    }

    /// Answers nothing any more.
    pub(crate) fn fall_silent(&self) {
        self.zone.lock().unwrap().is_silent = true;
    }

    /// Says over UDP that the answer does not fit.
    pub(crate) fn truncate(&self) {
        self.zone.lock().unwrap().is_truncating = true;
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> usize {
        self.zone.lock().unwrap().asked
    }
}

impl Zone {
    fn set(&mut self, name: &str, kind: RecordType, ttl: u32, data: Vec<RData>) {
        self.records.insert((format!("{name}."), kind), (ttl, data));
    }

    fn answer(&mut self, question: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        self.asked += 1;
        if self.is_silent {
            return None;
        }
        let asked = Message::from_vec(question).unwrap();
        let query = asked.queries()[0].clone();
        let mut answer = Message::new();
        answer.set_id(asked.id()).set_message_type(MessageType::Response).set_recursion_available(true);
        answer.add_query(query.clone());
        let name = query.name().to_ascii().to_lowercase();
        let is_known = self.records.iter().any(|((known, _), (_, data))| *known == name && !data.is_empty());
        if let Some(fault) = self.fault {
            answer.set_response_code(fault);
        } else if is_udp && self.is_truncating {
            answer.set_truncated(true);
        } else if let Some((ttl, data)) = self.records.get(&(name, query.query_type()))
            && !data.is_empty()
        {
            for data in data {
                answer.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
            }
        } else if !is_known {
            answer.set_response_code(ResponseCode::NXDomain);
        }
        Some(answer.to_vec().unwrap())
    }
}

/// Binds both at one port.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}
