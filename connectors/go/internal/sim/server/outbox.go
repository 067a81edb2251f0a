package server

import (
	"sync"
	"sync/atomic"
	"time"

	"wharf/connectors/internal/sim/wire"
)

const (
	// maxWaiting ends a connection that does not read; its stanzas are still in the device's queue.
	maxWaiting = 64 << 20
	// maxBurst bounds how many bytes of frames share one WebSocket message.
	maxBurst = 64 << 10
)

type frame struct {
	payload []byte
	due     time.Time // not before; zero: now
}

// outbox writes a connection's frames in order, so that nobody who has the server's lock waits for a network. A delayed
// frame holds up the ones behind it, as a slow network does.
type outbox struct {
	cipher *wire.Cipher
	write  func([]byte) error
	failed func()
	delay  atomic.Int64 // nanoseconds added to each frame: the fault `delay_ms`

	mu      sync.Mutex
	changed *sync.Cond
	frames  []frame
	waiting int
	closed  bool
}

func newOutbox(cipher *wire.Cipher, write func([]byte) error, failed func()) *outbox {
	o := &outbox{cipher: cipher, write: write, failed: failed}
	o.changed = sync.NewCond(&o.mu)
	return o
}

func (o *outbox) put(payload []byte) {
	var due time.Time
	if delay := o.delay.Load(); delay > 0 {
		due = time.Now().Add(time.Duration(delay))
	}
	o.mu.Lock()
	o.waiting += len(payload)
	full := o.waiting > maxWaiting
	if !o.closed && !full {
		o.frames = append(o.frames, frame{payload, due})
	}
	o.mu.Unlock()
	o.changed.Signal()
	if full {
		o.failed()
	}
}

func (o *outbox) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.closed = true
	o.frames = nil
	o.mu.Unlock()
	o.changed.Signal()
}

func (o *outbox) run() {
	var buffer []byte
	for {
		frames := o.take()
		if frames == nil {
			return
		}
		for len(frames) > 0 {
			if wait := time.Until(frames[0].due); !frames[0].due.IsZero() && wait > 0 {
				time.Sleep(wait)
			}
			buffer = buffer[:0]
			for len(frames) > 0 && len(buffer) < maxBurst && !frames[0].due.After(time.Now()) {
				buffer = o.cipher.Append(buffer, frames[0].payload)
				frames = frames[1:]
			}
			if err := o.write(buffer); err != nil {
				o.failed()
				o.close()
				return
			}
		}
	}
}

func (o *outbox) take() []frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.closed {
		o.changed.Wait()
	}
	if o.closed {
		return nil
	}
	frames := o.frames
	o.frames, o.waiting = nil, 0
	return frames
}
