//! The agent of the kernel tests: does on its standard input's word what an agent process might do, one line a command,
//! and answers each with one line: `ok ...` or `errno N`.

use std::{
    env, fs,
    io::{self, BufRead, Read},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{self, Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::setuid,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

fn main() -> Result<()> {
    let mut held = Held::default();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match obey(&words, &mut held) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                Some(errno) => format!("errno {errno}"),
                None => return Err(error.context(line)),
            },
        };
        println!("{}", answer.trim_end());
        if let Some(mut child) = held.child.take() {
            child.wait()?;
            break;
        }
    }
    Ok(())
}

fn obey(words: &[&str], held: &mut Held) -> Result<String> {
    match words {
        ["hello"] => Ok(String::new()),
        ["join", cgroup] => {
            fs::write(format!("{cgroup}/cgroup.procs"), "0")?;
            Ok(process::id().to_string())
        }
        // From here on a child of this process obeys.
        ["child"] => {
            held.child = Some(Command::new(env::current_exe()?).spawn()?);
            Ok(String::new())
        }
        // From here on another program obeys.
        ["run", program] => {
            held.child = Some(Command::new(program).spawn()?);
            Ok(String::new())
        }
        ["become", user] => {
            setuid(user.parse::<u32>()?.into()).map_err(io::Error::from)?;
            Ok(String::new())
        }
        // A network namespace of its own, where the daemon does not listen.
        ["unshare"] => {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(String::new())
        }
        // A socket that is made now and used by a later `connect`.
        ["socket", family] => {
            let domain = if *family == "4" { Domain::IPV4 } else { Domain::IPV6 };
            held.fresh = Some(Socket::new(domain, Type::STREAM, None)?);
            Ok(String::new())
        }
        // Connects and keeps the connection; answers with both ends as this process sees them.
        ["connect", address] => {
            let address: SocketAddr = address.parse()?;
            let socket = match held.fresh.take() {
                Some(socket) => socket,
                None => Socket::new(Domain::for_address(address), Type::STREAM, None)?,
            };
            socket.connect(&address.into())?;
            let ends = (ip(socket.peer_addr()?)?, ip(socket.local_addr()?)?);
            held.connected = Some(socket);
            Ok(format!("{} {}", ends.0, ends.1))
        }
        // What the other end sends until it closes.
        ["read"] => {
            let mut stream = TcpStream::from(held.connected.take().context("nothing is connected")?);
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        }
        // Connects many times and closes at once, by turns politely and with a reset; answers with how many failed.
        ["burst", times, address] => burst(times.parse()?, address.parse()?),
        ["bind", address] => {
            let address: SocketAddr = address.parse()?;
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.bind(&SockAddr::from(address))?;
            Ok(String::new())
        }
        ["create", kind, protocol] => {
            let kind = Type::from(kind.parse::<i32>()?);
            let protocol = Protocol::from(protocol.parse::<i32>()?);
            Socket::new(Domain::IPV4, kind, Some(protocol))?;
            Ok(String::new())
        }
        // A SYN made by hand, as a raw socket can send it past the connect hook.
        ["raw-syn", address] => {
            let address: SocketAddr = address.parse()?;
            let [high, low] = address.port().to_be_bytes();
            let mut segment = [0_u8; 20];
            // RFC 9293: ports, sequence, acknowledgement, five words of header and the SYN flag, window...
            segment[..4].copy_from_slice(&[0xa0, 0x00, high, low]);
            segment[12..14].copy_from_slice(&[0x50, 0x02]);
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            socket.send_to(&segment, &SockAddr::from(SocketAddr::new(address.ip(), 0)))?;
            Ok(String::new())
        }
        _ => bail!("what is that?"),
    }
}

#[derive(Default)]
struct Held {
    fresh: Option<Socket>,
    connected: Option<Socket>,
    child: Option<Child>,
}

fn ip(address: SockAddr) -> Result<SocketAddr> {
    address.as_socket().context("no IP address")
}

fn burst(times: u32, address: SocketAddr) -> Result<String> {
    let mut failed = 0;
    for turn in 0..times {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if turn % 2 == 0 {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        match socket.connect(&address.into()) {
            Ok(()) if turn % 2 == 0 => drop(socket),
            Ok(()) => socket.shutdown(Shutdown::Both).or_else(|error| match error.kind() {
                io::ErrorKind::NotConnected => Ok(()),
                _ => Err(error),
            })?,
            Err(_) => failed += 1,
        }
    }
    Ok(failed.to_string())
}
