package contacts

import (
	"context"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// Flood is many texts to one recipient.
type Flood struct {
	To     types.JID
	Count  int
	Prefix string
	PerSec float64       // 0: as fast as acks come
	After  time.Duration // before the first, so that contacts need not write in step
}

// IDs are the message ids of a flood, known before it starts.
func (f Flood) IDs() []string {
	ids := make([]string, f.Count)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%06d", f.Prefix, i)
	}
	return ids
}

// Flood sends texts one after another. It returns when all were accepted, with the number that was not.
func (c *Contact) Flood(ctx context.Context, f Flood) (failed int) {
	start := time.Now().Add(f.After)
	for i, id := range f.IDs() {
		due := start
		if f.PerSec > 0 {
			due = start.Add(time.Duration(float64(i) / f.PerSec * float64(time.Second)))
		}
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return failed + f.Count - i
		}
		message, err := Text("text of "+id, Around{})
		if err == nil {
			err = c.SendSurely(ctx, f.To, id, message)
		}
		if err != nil {
			failed++
			c.pool.Log.Warn("flood message not accepted", "contact", c.Phone, "id", id, "error", err)
		}
		if ctx.Err() != nil {
			return failed + f.Count - i - 1
		}
	}
	return failed
}

// StartFlood floods in the background, until the pool closes.
func (c *Contact) StartFlood(f Flood) {
	c.pool.work.Add(1)
	go func() {
		defer c.pool.work.Done()
		c.Flood(c.pool.stop, f)
	}()
}
