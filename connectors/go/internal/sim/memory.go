package sim

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A connection inside the process: contacts reach the server through it without a system call for each frame.

// pipeLimit is how much one side may write before the other has read.
const pipeLimit = 256 << 10

type memoryListener struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newMemoryListener() *memoryListener {
	return &memoryListener{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	up, down := newPipe(), newPipe()
	server := &memoryConn{read: up, write: down}
	select {
	case l.accept <- server:
		return &memoryConn{read: down, write: up}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "contacts" }

// pipe is one direction: a bounded buffer.
type pipe struct {
	mu       sync.Mutex
	changed  *sync.Cond
	buffer   []byte
	start    int // bytes before it were read
	closed   bool
	readEnd  deadline
	writeEnd deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (p *pipe) setDeadline(d *deadline, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
	}
	p.changed.Broadcast()
}

func (p *pipe) read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.start == len(p.buffer) {
		if p.closed {
			return 0, io.EOF
		}
		if p.readEnd.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		p.changed.Wait()
	}
	n := copy(to, p.buffer[p.start:])
	p.start += n
	if p.start == len(p.buffer) {
		p.buffer, p.start = p.buffer[:0], 0
	}
	p.changed.Broadcast()
	return n, nil
}

func (p *pipe) write(from []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for written < len(from) {
		for len(p.buffer)-p.start >= pipeLimit && !p.closed && !p.writeEnd.passed() {
			p.changed.Wait()
		}
		if p.closed {
			return written, io.ErrClosedPipe
		}
		if p.writeEnd.passed() {
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(from)-written, pipeLimit-(len(p.buffer)-p.start))
		if p.start > 0 && len(p.buffer)+n > cap(p.buffer) {
			p.buffer = p.buffer[:copy(p.buffer, p.buffer[p.start:])]
			p.start = 0
		}
		p.buffer = append(p.buffer, from[written:written+n]...)
		written += n
		p.changed.Broadcast()
	}
	return written, nil
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
}

type memoryConn struct{ read, write *pipe }

func (c *memoryConn) Read(b []byte) (int, error)  { return c.read.read(b) }
func (c *memoryConn) Write(b []byte) (int, error) { return c.write.write(b) }

func (c *memoryConn) Close() error {
	c.read.close()
	c.write.close()
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.read.setDeadline(&c.read.readEnd, t)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.write.setDeadline(&c.write.writeEnd, t)
	return nil
}
