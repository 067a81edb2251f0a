package server

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/sim/accounts"
)

// Faults are what goes wrong on purpose for one phone. Counters run down by one at each use; they are not kept over a
// restart, as opposed to their effects on queued stanzas.
type Faults struct {
	Duplicate           int       `json:"duplicate"`              // messages to the phone that are delivered twice
	Corrupt             int       `json:"corrupt"`                // messages to the phone whose ciphertext is damaged
	SameIDNewCiphertext int       `json:"same_id_new_ciphertext"` // messages to the phone that its sender encrypts once more
	HoldDelivery        bool      `json:"hold_delivery"`          // messages to the phone stay in the queue
	HoldAck             bool      `json:"hold_ack"`               // messages from the phone are relayed, their acks wait
	DropAck             int       `json:"drop_ack"`               // messages from the phone are relayed, their acks are lost
	AckError            *AckError `json:"ack_error,omitempty"`    // messages from the phone are refused
	DropReceipts        bool      `json:"drop_receipts"`          // receipts for the phone's messages are lost
	DelayMS             int       `json:"delay_ms"`               // stanzas to the phone arrive this much later
	QueryLimit          int       `json:"rate_limit_queries"`     // queries of the phone that are answered with 429
	QueryLimitOnly      string    `json:"rate_limit_xmlns"`       // only those of this namespace
	MediaStatus         int       `json:"media_status"`           // HTTP status of all downloads of media; 0: the media
	NoRestart           bool      `json:"no_restart"`             // a pairing of the phone ends without its 515
	LoseOffline         int       `json:"lose_offline"`           // queued messages that the next login announces and never gets
}

// AckError refuses the next n messages with a code, such as 463.
type AckError struct {
	Code int `json:"code"`
	N    int `json:"n"`
}

// Failure is what the next logins of a phone meet.
type Failure struct {
	Device  uint16 `json:"device"` // 0: any
	Reason  int    `json:"reason"`
	Code    int    `json:"code"`
	ExpireS int    `json:"expire_s"`
	Times   int    `json:"times"`
}

func (f *Failure) node() waBinary.Node {
	attrs := waBinary.Attrs{"reason": strconv.Itoa(f.Reason), "location": "sim"}
	if f.Code != 0 {
		attrs["code"] = strconv.Itoa(f.Code)
	}
	if f.ExpireS != 0 {
		attrs["expire"] = strconv.Itoa(f.ExpireS)
	}
	return waBinary.Node{Tag: "failure", Attrs: attrs}
}

type heldAck struct {
	device *accounts.Device
	node   waBinary.Node
}

type phoneFaults struct {
	Faults
	failures []*Failure
	heldAcks []heldAck
}

var noFaults phoneFaults

func (s *Server) faultsOf(phone string) *phoneFaults {
	if f := s.faults[phone]; f != nil {
		return f
	}
	return &noFaults // never written to: every counter in it is zero
}

func (f *phoneFaults) nextFailure(device uint16) *Failure {
	for i, failure := range f.failures {
		if failure.Device != 0 && failure.Device != device {
			continue
		}
		if failure.Times--; failure.Times <= 0 {
			f.failures = slices.Delete(f.failures, i, i+1)
		}
		return failure
	}
	return nil
}

func (f *phoneFaults) nextAckError() int {
	if f.AckError == nil {
		return 0
	}
	code := f.AckError.Code
	if f.AckError.N--; f.AckError.N <= 0 {
		f.AckError = nil
	}
	return code
}

// onQueue applies what happens to a message on its way into the phone's queue.
func (f *phoneFaults) onQueue(e *accounts.Entry, enc *waBinary.Node) {
	if f.Duplicate > 0 {
		f.Duplicate--
		e.Twins = 1
	}
	if f.SameIDNewCiphertext > 0 {
		f.SameIDNewCiphertext--
		e.Reencrypt = true
	}
	if f.Corrupt > 0 {
		f.Corrupt--
		enc.Content = damage(content(enc))
	}
}

// damage changes the authentication code at the end of a ciphertext.
func damage(ciphertext []byte) []byte {
	out := bytes.Clone(ciphertext)
	for i := max(0, len(out)-3); i < len(out); i++ {
		out[i] ^= 0x55
	}
	return out
}

func (f *phoneFaults) delay() time.Duration { return time.Duration(f.DelayMS) * time.Millisecond }

func (s *Server) rateLimited(c *conn, namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.device == nil {
		return false
	}
	if f := s.faultsOf(c.device.Account.Phone); f.QueryLimit > 0 && (f.QueryLimitOnly == "" || f.QueryLimitOnly == namespace) {
		f.QueryLimit--
		return true
	}
	return false
}

func (s *Server) ensureFaults(phone string) *phoneFaults {
	f := s.faults[phone]
	if f == nil {
		f = &phoneFaults{}
		s.faults[phone] = f
	}
	return f
}

// SetFaults changes the faults of a phone by a function that gets the present ones, and returns the result. What was
// held and is no longer to be held goes out.
func (s *Server) SetFaults(phone string, change func(*Faults) error) (Faults, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.Accounts.Phone(phone)
	if a == nil {
		return Faults{}, ErrUnknownPhone
	}
	f := s.ensureFaults(phone)
	wanted := f.Faults
	if err := change(&wanted); err != nil {
		return Faults{}, err
	}
	f.Faults = wanted
	for _, dev := range a.Devices {
		if c := s.online[dev]; c != nil {
			c.out.delay.Store(int64(f.delay()))
		}
	}
	if !f.HoldAck {
		for _, held := range f.heldAcks {
			if c := s.online[held.device]; c != nil {
				c.send(held.node)
			}
		}
		f.heldAcks = nil
	}
	if !f.HoldDelivery {
		for _, dev := range a.Sorted() {
			for _, e := range dev.Queue.Entries() {
				s.deliver(dev, e)
			}
		}
	}
	return f.Faults, nil
}

// FailLogins lets the next logins of a phone fail.
func (s *Server) FailLogins(phone string, failure Failure) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Accounts.Phone(phone) == nil {
		return ErrUnknownPhone
	}
	f := s.ensureFaults(phone)
	f.failures = append(f.failures, &failure)
	return nil
}

// Kick says how connections of a phone are to end.
type Kick struct {
	Device   uint16 `json:"device"` // 0: all
	Code     string `json:"code"`
	Conflict string `json:"conflict"` // replaced, device_removed
	Remove   bool   `json:"remove"`   // unlink the device as well
	Hard     bool   `json:"hard"`     // no stream error: the connection just breaks
	Freeze   bool   `json:"freeze"`   // half-open: nothing is read or written any more, and the connection stays
}

// Kick ends connections and returns how many there were.
func (s *Server) Kick(phone string, k Kick) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.Accounts.Phone(phone)
	if a == nil {
		return 0, ErrUnknownPhone
	}
	if k.Device != 0 && a.Devices[k.Device] == nil {
		return 0, ErrUnknownDevice
	}
	if k.Remove && k.Code == "" && k.Conflict == "" {
		k.Code, k.Conflict = "401", "device_removed"
	}
	kicked := 0
	for _, dev := range a.Sorted() {
		if k.Device != 0 && dev.Number != k.Device {
			continue
		}
		if c := s.online[dev]; c != nil {
			kicked++
			s.kick(c, k)
		}
		if k.Remove {
			s.Accounts.RemoveDevice(dev)
			s.stats.unlinked++
			s.tellDevices(a)
		}
	}
	s.stats.kicked += kicked
	return kicked, nil
}

func (s *Server) kick(c *conn, k Kick) {
	switch {
	case k.Hard:
		c.ended = true
		s.leave(c)
		c.hangUp()
	case k.Freeze:
		c.ended = true
		s.leave(c)
		c.frozen.Store(true)
		c.out.close()
	case k.Conflict != "":
		c.bye(conflict(k.Code, k.Conflict))
	default:
		c.bye(waBinary.Node{Tag: "stream:error", Attrs: waBinary.Attrs{"code": k.Code}})
	}
}
