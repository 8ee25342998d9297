//! A pipe in memory, and what is needed to use streams without an event loop.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{executor::block_on, task::noop_waker_ref, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::command::Fallible;

/// Both ends of a pipe: what one clone writes, another reads. An empty pipe that is not closed is pending.
#[derive(Clone, Default)]
pub struct Pipe(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    data: VecDeque<u8>,
    closed: bool,
}

impl Pipe {
    /// Take all that is inside.
    pub fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().data.drain(..).collect()
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().data.extend(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, output: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        if state.data.is_empty() && !state.closed {
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut state.data, output))
    }
}

/// Write each part at once, which the crate turns into one chunk each, and close the stream.
pub fn write_parts(mut stream: impl AsyncWrite + Unpin, parts: &[Vec<u8>]) -> Fallible<()> {
    for part in parts {
        block_on(stream.write_all(part))?;
    }
    Ok(block_on(stream.close())?)
}

/// Read to the end; each part is what one read returned.
pub fn read_parts(mut stream: impl AsyncRead + Unpin) -> Fallible<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match block_on(stream.read(&mut buffer))? {
            0 => return Ok(parts),
            size => parts.push(buffer[..size].to_vec()),
        }
    }
}

/// Read what is there now into `buffer` and return how much was read.
pub fn read_available(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Fallible<usize> {
    let mut context = Context::from_waker(noop_waker_ref());
    let mut total = 0;
    while let Poll::Ready(size) = Pin::new(&mut *stream).poll_read(&mut context, buffer) {
        match size? {
            0 => break,
            size => total += size,
        }
    }
    Ok(total)
}
