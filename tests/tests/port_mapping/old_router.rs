//! A router as they were sold for years: UPnP version 1, which maps ports for ever or not at all (error 725). miniupnpd
//! cannot play it. Not here: forwarding; it only keeps the list.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::router::{Host, PUBLIC};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// The mappings it holds, as `protocol external->client:internal`, and the leases it was asked for.
#[derive(Clone, Default)]
pub struct OldRouter {
    pub mappings: Arc<Mutex<Vec<String>>>,
    pub leases: Arc<Mutex<Vec<u32>>>,
}

impl OldRouter {
    /// Runs on a host with this address until the host is dropped.
    pub fn start(host: &Host, address: Ipv4Addr) -> Self {
        let router = Self::default();
        let serving = router.clone();
        host.run(async move {
            let listener = TcpListener::bind((address, 0)).await.expect("a free port");
            let at = listener.local_addr().expect("bound");
            let search = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900)).await.expect("nobody else is there");
            search.join_multicast_v4(GROUP, address).expect("joined");
            tokio::spawn(answer_searches(search, at));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serving.clone().serve(stream));
                }
            });
        });
        router
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut request).await {
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() < length.unwrap_or(0) {
                continue;
            }
            let (status, answer) = self.answer(head, body);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
            return;
        }
    }

    fn answer(&self, head: &str, body: &str) -> (&'static str, String) {
        let field = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            rest.split_once('<').map(|(value, _)| value.to_owned())
        };
        let done = |action: &str, fields: &str| {
            let answer = format!("<u:{action}Response xmlns:u=\"{SERVICE}\">{fields}</u:{action}Response>");
            ("200 OK", envelope(&answer))
        };
        if head.starts_with("GET /device.xml") {
            return ("200 OK", DEVICE.to_owned());
        }
        if head.starts_with("GET /service.xml") {
            return ("200 OK", service());
        }
        let mut mappings = self.mappings.lock().expect("whole");
        let key = || Some(format!("{} {}", field("NewProtocol")?, field("NewExternalPort")?));
        if body.contains("GetExternalIPAddress") {
            done("GetExternalIPAddress", &format!("<NewExternalIPAddress>{PUBLIC}</NewExternalIPAddress>"))
        } else if body.contains("DeletePortMapping") {
            let key = key().expect("named");
            mappings.retain(|mapping| !mapping.starts_with(&format!("{key}->")));
            done("DeletePortMapping", "")
        } else if body.contains("AddPortMapping") {
            let lease: u32 = field("NewLeaseDuration").and_then(|text| text.parse().ok()).expect("a number");
            self.leases.lock().expect("whole").push(lease);
            if lease != 0 {
                return ("500 Internal Server Error", fault(725, "OnlyPermanentLeasesSupported"));
            }
            let inside = (field("NewInternalClient").expect("named"), field("NewInternalPort").expect("named"));
            mappings.push(format!("{}->{}:{}", key().expect("named"), inside.0, inside.1));
            done("AddPortMapping", "")
        } else {
            ("500 Internal Server Error", fault(401, "Invalid Action"))
        }
    }
}

async fn answer_searches(socket: UdpSocket, at: SocketAddr) {
    let mut buffer = [0; 1024];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let wanted = text.lines().find_map(|line| line.strip_prefix("ST:").or_else(|| line.strip_prefix("st:")));
        let Some(wanted) = wanted.map(str::trim).filter(|wanted| wanted.contains("InternetGatewayDevice:1")) else {
            continue;
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: {wanted}\r\nUSN: uuid:old::{wanted}\r\nEXT:\r\n\
             SERVER: old/1\r\nLOCATION: http://{at}/device.xml\r\n\r\n"
        );
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn fault(code: u16, text: &str) -> String {
    envelope(&format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode>\
         <errorDescription>{text}</errorDescription></UPnPError></detail></s:Fault>"
    ))
}

const DEVICE: &str = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\">\
    <specVersion><major>1</major><minor>0</minor></specVersion><device>\
    <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device>\
    <deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>\
    <deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>\
    <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
    <serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><SCPDURL>/service.xml</SCPDURL>\
    <controlURL>/control</controlURL><eventSubURL>/event</eventSubURL></service></serviceList></device></deviceList>\
    </device></deviceList></device></root>";

/// The description of its actions.
fn service() -> String {
    let action = |name: &str, arguments: &[&str]| {
        let argument = |name: &&str| {
            format!("<argument><name>{name}</name><direction>in</direction><relatedStateVariable/></argument>")
        };
        let arguments: String = arguments.iter().map(argument).collect();
        format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
    };
    let key = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let rest = ["NewInternalPort", "NewInternalClient", "NewEnabled", "NewPortMappingDescription", "NewLeaseDuration"];
    let actions = [
        action("AddPortMapping", &[&key[..], &rest].concat()),
        action("DeletePortMapping", &key),
        action("GetExternalIPAddress", &[]),
    ];
    format!(
        "<?xml version=\"1.0\"?><scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>{}</actionList></scpd>",
        actions.concat()
    )
}
