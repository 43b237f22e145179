//! A connection in clear text or TLS.

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{
    AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf as TlsReadHalf, WriteHalf as TlsWriteHalf, split,
};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

type Tls = TlsStream<TcpStream>;

/// One connection. Clear text goes straight to the socket.
#[derive(Debug)]
pub(in crate::proxy) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Stream {
    /// The version of TLS, if it is that.
    pub(in crate::proxy) fn tls(&self) -> Option<&'static str> {
        use tokio_rustls::rustls::ProtocolVersion as Version;
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(match stream.get_ref().1.protocol_version() {
                Some(Version::TLSv1_2) => "TLS 1.2",
                Some(Version::TLSv1_3) => "TLS 1.3",
                _ => "TLS",
            }),
        }
    }

    /// The certificate that the other side has shown.
    pub(in crate::proxy) fn certificate(&self) -> Option<&CertificateDer<'_>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    /// Whether there is nothing to be read and no end.
    pub(in crate::proxy) fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let mut first = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(socket).peek(&mut first) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Sends all of it.
    pub(in crate::proxy) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Says that nothing more comes, where there is a way to say it that cannot be forged.
    pub(in crate::proxy) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    /// The two directions, each on its own.
    pub(in crate::proxy) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.split();
                (Reader::Plain(read), Writer::Plain(write))
            }
            Self::Tls(stream) => {
                let (read, write) = split(stream.as_mut());
                (Reader::Tls(read), Writer::Tls { half: write, unsent: false })
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

/// What comes in.
#[derive(Debug)]
pub(in crate::proxy) enum Reader<'a> {
    Plain(ReadHalf<'a>),
    Tls(TlsReadHalf<&'a mut Tls>),
}

impl AsyncRead for Reader<'_> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(context, buffer),
            Self::Tls(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

/// What goes out.
#[derive(Debug)]
pub(in crate::proxy) enum Writer<'a> {
    Plain(WriteHalf<'a>),
    Tls {
        half: TlsWriteHalf<&'a mut Tls>,
        /// Whether bytes have been encrypted and may not be on their way yet.
        unsent: bool,
    },
}

impl Writer<'_> {
    /// Whether there is something to send: of `out`, or of what was taken from it earlier.
    pub(in crate::proxy) fn owes(&self, out: &BytesMut) -> bool {
        out.has_remaining() || matches!(self, Self::Tls { unsent: true, .. })
    }

    /// Sends some of `out`. May be dropped at any point and called again while it [owes](Self::owes) something.
    pub(in crate::proxy) async fn send(&mut self, out: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.write_buf(out).await.map(drop),
            Self::Tls { half, unsent } => {
                *unsent = true;
                if out.has_remaining() {
                    half.write_buf(out).await?;
                }
                half.flush().await?;
                *unsent = false;
                Ok(())
            }
        }
    }

    /// Sends what can be sent without waiting.
    pub(in crate::proxy) fn send_now(&mut self, out: &mut BytesMut) -> io::Result<()> {
        let Self::Plain(half) = self else { return Ok(()) };
        while out.has_remaining() {
            match half.try_write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the last bytes and says that they were.
    pub(in crate::proxy) async fn end(&mut self, last: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.write_all(last).await,
            Self::Tls { half, .. } => {
                half.write_all(last).await?;
                half.shutdown().await
            }
        }
    }
}
