//! The network of a lab: a namespace for each pod and for the gateway, as Kubernetes gives one to each pod, and a bridge between
//! them. Addresses can be parted: packets between them are lost without a word, as on a network that fails.
//!
//! All of it is in the namespace that the lab itself has been started in, and goes with it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::process::{Guard, Process};

/// The first byte of all addresses. The second is the network's.
const FIRST: u8 = 10;
/// Before the rules that the system has.
const PARTED: u32 = 10;
/// Behind those, so that they count for what comes to this machine, too.
const LOCAL: u32 = 100;

/// A bridge's hardware address: one that is given out locally.
const BRIDGE: &str = "02:00:00:00:00:01";
/// How long a namespace may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(1);

/// Whose an address is: its third byte. The fourth tells those of a kind apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The lab's own: of clients, and of the API server.
    Lab = 0,
    /// Where a pod reaches Postgres.
    Database = 1,
    /// Where other pods reach a pod.
    Peer = 2,
    /// Where the gateway reaches a pod.
    Pod = 3,
    /// A pod itself.
    Host = 4,
    /// The gateway itself.
    Gateway = 5,
}

/// A network of its own: several can be there one after the other.
#[derive(Debug)]
pub struct Network {
    number: u8,
}

/// Somebody on the network, in a namespace of its own.
#[derive(Debug)]
pub struct Host {
    address: IpAddr,
    /// Keeps the namespace, whatever becomes of the processes in it.
    pause: Process,
}

/// Sees that the lab has a network to itself, and makes it ready.
///
/// # Errors
/// It has not: nothing is changed then.
pub fn make_ready() -> Result<()> {
    let mut up = Command::new("ip");
    up.args(["-o", "link", "show", "up"])
        .stderr(Stdio::inherit());
    let up = up.output();
    let up = up.context("the labs with pods need the program ip, of iproute2")?;
    ensure!(
        up.status.success() && up.stdout.is_empty(),
        "the labs with pods need a network namespace of their own: make faults, or scripts/faults, starts them in one as root, \
        or where users may make namespaces; --lab dev needs none"
    );
    ip(&format!(
        "link set lo up\nrule add pref {LOCAL} lookup local\nrule del pref 0\n"
    ))
}

impl Network {
    /// Makes one.
    ///
    /// # Errors
    /// The namespace of this process is not the lab's own, or the system refuses.
    pub fn start() -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Self { number };
        let (bridge, lab) = (network.bridge(), network.address(Role::Lab, 1));
        // All addresses that are not a host's are the lab's own, whether or not somebody listens there. Without a hardware address of its
        // own the bridge would take that of a host, and have another one when that goes: what is sent to the old one is lost.
        ip(&format!(
            "link add {bridge} address {BRIDGE} type bridge\naddr add {lab}/16 dev {bridge}\nlink set {bridge} up\n\
            route replace local {FIRST}.{number}.0.0/22 dev lo\n"
        ))?;
        Ok(network)
    }

    /// An address.
    #[must_use]
    pub fn address(&self, role: Role, number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(FIRST, self.number, role as u8, number))
    }

    /// Somebody new at an address.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn host(&self, guard: &Guard, role: Role, number: u8) -> Result<Host> {
        let mut pause = Command::new("unshare");
        pause.args(["--net", "sleep", "infinity"]);
        let log = guard.folder().join("network.log");
        let pause = guard.spawn(pause, Signal::KILL, &log)?;
        let host = Host {
            address: self.address(role, number),
            pause,
        };
        let (address, bridge) = (host.address, self.bridge());
        let (link, pid) = (format!("{bridge}-{}-{number}", role as u8), host.pause.id());
        host.has_namespace().await?;
        ip(&format!(
            "link add {link} type veth peer name eth0 netns {pid}\nlink set {link} master {bridge} up\n"
        ))?;
        let mut inside = host.command("ip");
        inside.args(["-batch", "-"]);
        batch(
            inside,
            &format!("addr add {address}/16 dev eth0\nlink set eth0 up\nlink set lo up\n"),
        )?;
        Ok(host)
    }

    /// From now on nothing that these send each other arrives, and none of them is told so.
    ///
    /// # Errors
    /// The system refuses.
    pub fn part(&self, pairs: &[(IpAddr, IpAddr)]) -> Result<()> {
        let rules = pairs.iter().map(|(a, b)| {
            format!(
                "rule add pref {PARTED} from {a} to {b} blackhole\nrule add pref {PARTED} from {b} to {a} blackhole\n"
            )
        });
        ip(&rules.collect::<String>())
    }

    /// From now on everything arrives again.
    ///
    /// # Errors
    /// The system refuses.
    pub fn heal(&self, pairs: &[(IpAddr, IpAddr)]) -> Result<()> {
        ip(&format!("rule del pref {PARTED}\n").repeat(2 * pairs.len()))
    }

    fn bridge(&self) -> String {
        format!("lab{}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The next one has another name: what is left is in nobody's way.
        let _ = ip(&format!("link del {}\n", self.bridge()));
    }
}

impl Host {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A program that is to run there, as a process of its own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pause.id()))
            .arg("--")
            .arg(program);
        command
    }

    /// Waits until the namespace is there.
    async fn has_namespace(&self) -> Result<()> {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        let (own, pid) = (of("self")?, self.pause.id().to_string());
        let waiting = async {
            while of(&pid)? == own {
                sleep(BETWEEN).await;
            }
            anyhow::Ok(())
        };
        let waited = timeout(PATIENCE, waiting).await;
        waited.context("unshare makes no network namespace")?
    }
}

/// Has the program `ip` carry out some lines in the lab's own namespace.
fn ip(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]);
    batch(ip, lines)
}

fn batch(mut command: Command, lines: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    let mut input = child.stdin.take().context("ip has no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ip: {}\n{said}{lines}",
        output.status
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const INSIDE: &str = "network::tests::inside_a_namespace_of_its_own";

    /// How connecting to the address ends, of one at this host that waits for half a second.
    fn connect(host: &Host, to: IpAddr) -> Option<i32> {
        let mut command = host.command("timeout");
        command.args(["0.5", "bash", "-c", &format!("exec 3<>/dev/tcp/{to}/7000")]);
        command.status().unwrap().code()
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "run by the next one"]
    async fn inside_a_namespace_of_its_own() {
        make_ready().unwrap();
        assert!(
            make_ready().is_err(),
            "a network that is in use is left alone"
        );
        let guard = Guard::start().unwrap();
        let network = Network::start().unwrap();
        let host = network.host(&guard, Role::Host, 2).await.unwrap();
        let [parted, other] = [1, 2].map(|number| network.address(Role::Database, number));
        let _listening = [
            TcpListener::bind((parted, 7000)).await.unwrap(),
            TcpListener::bind((other, 7000)).await.unwrap(),
        ];
        assert_eq!(connect(&host, parted), Some(0));
        let pairs = [(host.address(), parted)];
        network.part(&pairs).unwrap();
        assert_eq!(
            connect(&host, parted),
            Some(124),
            "it waits, and hears nothing"
        );
        assert_eq!(connect(&host, other), Some(0));
        network.heal(&pairs).unwrap();
        assert_eq!(connect(&host, parted), Some(0));
    }

    #[test]
    fn what_is_parted_hears_nothing_and_others_do() {
        let may = Command::new("unshare").args(["--net", "true"]).status();
        if !may.is_ok_and(|status| status.success()) {
            eprintln!("not run: nobody may make a network namespace here");
            return;
        }
        let mut inside = Command::new("unshare");
        let test = std::env::current_exe().unwrap();
        inside.args(["--net", "--"]).arg(test);
        inside.args(["--exact", INSIDE, "--ignored"]);
        assert!(inside.status().unwrap().success());
    }
}
