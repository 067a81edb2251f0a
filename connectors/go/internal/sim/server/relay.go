package server

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/wire"
)

// carried are the children of a message that are passed on beside the ciphertext.
var carried = map[string]bool{"device-identity": true, "meta": true, "bot": true, "biz": true, "reporting": true, "franking": true}

// part is one device's share of a message.
type part struct {
	device *accounts.Device
	enc    *waBinary.Node
}

// delivery is a stanza that goes out once it is on file.
type delivery struct {
	device *accounts.Device
	entry  *accounts.Entry
}

// onMessage accepts a message: first everything is put into the queues, then, when that is on file, the sender gets
// its ack and the recipients get the message.
func (c *conn) onMessage(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	me := c.device
	f := s.faultsOf(me.Account.Phone)
	ack := waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{"class": "message", "id": text(node, "id"), "from": jid(node, "to"), "t": stamp(s.Now())}}
	if code := f.nextAckError(); code != 0 {
		ack.Attrs["error"] = strconv.Itoa(code)
		s.stats.ackErrors++
		c.send(ack)
		return
	}
	recipient := s.Accounts.Find(jid(node, "to"))
	parts, missing := s.parts(node)
	if missing && recipient != nil {
		// A hash other than its own makes the client fetch the device list again.
		ack.Attrs["phash"] = deviceHash(recipient)
		s.stats.staleDeviceLists++
	}
	deliveries, reached := s.queueParts(me, recipient, node, parts)
	if text(node, "device_fanout") == "false" || text(node, "category") == "peer" {
		s.stats.repeated++
	} else {
		s.stats.accepted++
		to := jid(node, "to").User
		if recipient != nil {
			to = recipient.Phone
		}
		s.Ledger.AddSent(ledger.Sent{
			Sender: me.Account.Phone, Device: me.Number, To: to, ID: text(node, "id"), AtMS: s.Now().UnixMilli(),
			Connection: c.number, LoginAtMS: c.loginAtMS, Undeliverable: !reached,
		})
	}
	s.whenKept(func() { s.settle(c, ack, deliveries) })
}

// whenKept runs a function, with the lock held, once all changes made so far are on file. The caller holds the lock.
func (s *Server) whenKept(f func()) {
	if !s.DB.Keeps() {
		f()
		return
	}
	s.DB.After(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
	})
}

// settle runs when the message is on file.
func (s *Server) settle(c *conn, ack waBinary.Node, deliveries []delivery) {
	switch f := s.faultsOf(c.device.Account.Phone); {
	case f.DropAck > 0:
		f.DropAck--
	case f.HoldAck:
		f.heldAcks = append(f.heldAcks, heldAck{c.device, ack})
	default:
		c.send(ack)
	}
	for _, d := range deliveries {
		d.entry.Durable = true
		s.deliver(d.device, d.entry)
	}
}

// parts reads who gets which ciphertext, and whether the sender's idea of the devices is out of date.
func (s *Server) parts(node *waBinary.Node) (parts []part, missing bool) {
	if list := child(node, "participants"); list != nil {
		for i := range list.GetChildren() {
			p := &list.GetChildren()[i]
			dev, enc := s.Accounts.Device(jid(p, "jid")), child(p, "enc")
			if dev == nil {
				missing = true
			} else if enc != nil {
				parts = append(parts, part{dev, enc})
			}
		}
		if a := s.Accounts.Find(jid(node, "to")); a != nil {
			for _, dev := range a.Devices {
				missing = missing || !slices.ContainsFunc(parts, func(p part) bool { return p.device == dev })
			}
		}
		return parts, missing
	}
	if enc := child(node, "enc"); enc != nil {
		if dev := s.Accounts.Device(jid(node, "to")); dev != nil {
			parts = append(parts, part{dev, enc})
		}
	}
	return parts, false
}

func (s *Server) queueParts(me *accounts.Device, recipient *accounts.Account, node *waBinary.Node, parts []part) (out []delivery, reached bool) {
	var extra []waBinary.Node
	for _, n := range node.GetChildren() {
		if carried[n.Tag] {
			extra = append(extra, n)
		}
	}
	blocked := recipient != nil && slices.Contains(recipient.Blocked, me.Account.LID)
	for _, p := range parts {
		own := p.device.Account == me.Account
		if blocked && !own {
			continue // the service accepts and drops what a blocked sender writes
		}
		reached = reached || !own
		e := &accounts.Entry{Key: accounts.StanzaKey{Class: "message", ID: text(node, "id"), From: me.Account.LID}, Sender: me.Account.Phone}
		enc := *p.enc
		if !own {
			s.faultsOf(p.device.Account.Phone).onQueue(e, &enc)
		}
		attrs := waBinary.Attrs{
			"from": me.Hidden(), "id": text(node, "id"), "t": stamp(s.Now()), "type": text(node, "type"),
			"notify": me.Account.Name, "edit": text(node, "edit"), "addressing_mode": "lid",
		}
		if own {
			ownAttributes(attrs, node, recipient)
		} else {
			attrs["sender_pn"] = me.Account.PN()
		}
		payload, err := wire.Encode(waBinary.Node{Tag: "message", Attrs: attrs, Content: append([]waBinary.Node{enc}, extra...)})
		if err != nil {
			s.Log.Warn("message cannot be passed on", "from", me.Account.Phone, "id", e.Key.ID, "error", err)
			continue
		}
		e.Payload = payload
		s.Accounts.Enqueue(p.device, e)
		out = append(out, delivery{p.device, e})
	}
	return out, reached
}

// ownAttributes tell a sender's other devices in which chat the message was written.
func ownAttributes(attrs waBinary.Attrs, node *waBinary.Node, recipient *accounts.Account) {
	if to := jid(node, "recipient"); !to.IsEmpty() { // a repetition for an own device carries it
		attrs["recipient"] = to
		return
	}
	if recipient != nil {
		attrs["recipient"], attrs["peer_recipient_pn"] = recipient.Hidden(), recipient.PN()
	}
}

// deliver writes a durable entry to its device, if that is connected and has not got it on this connection.
func (s *Server) deliver(dev *accounts.Device, e *accounts.Entry) {
	c := s.online[dev]
	if c == nil || !e.Durable || e.SentOn == c.number || !dev.Queue.Has(e) {
		return
	}
	f := s.faultsOf(dev.Account.Phone)
	if f.HoldDelivery && e.Key.Class == "message" {
		return
	}
	e.SentOn = c.number
	c.out.put(e.Payload)
	for ; e.Twins > 0; e.Twins-- {
		s.stats.duplicated++
		c.out.put(e.Payload)
	}
	if e.Reencrypt {
		e.Reencrypt = false
		s.askAgain(dev, e)
	}
}

// push queues a stanza for a device and delivers it when it is on file.
func (s *Server) push(dev *accounts.Device, key accounts.StanzaKey, node waBinary.Node) {
	payload, err := wire.Encode(node)
	if err != nil {
		s.Log.Warn("stanza cannot be passed on", "tag", node.Tag, "id", key.ID, "error", err)
		return
	}
	e := &accounts.Entry{Key: key, Payload: payload}
	s.Accounts.Enqueue(dev, e)
	s.whenKept(func() {
		e.Durable = true
		s.deliver(dev, e)
	})
}

// notify queues a server notification for a device.
func (s *Server) notify(dev *accounts.Device, kind string, attrs waBinary.Attrs, children ...waBinary.Node) {
	s.stats.notifications++
	id := strconv.FormatUint(uint64(s.Now().UnixNano()), 10) + "-" + strconv.Itoa(s.stats.notifications)
	attrs["type"], attrs["id"], attrs["t"] = kind, id, stamp(s.Now())
	from, _ := attrs["from"].(types.JID)
	s.push(dev, accounts.StanzaKey{Class: "notification", ID: id, From: from.User}, waBinary.Node{Tag: "notification", Attrs: attrs, Content: children})
}

// deviceHash is the short hash by which clients compare device lists.
func deviceHash(a *accounts.Account) string {
	var names []string
	for _, dev := range a.Sorted() {
		names = append(names, dev.Hidden().ADString())
	}
	slices.Sort(names)
	digest := sha256.Sum256([]byte(strings.Join(names, "")))
	return "2:" + base64.RawStdEncoding.EncodeToString(digest[:6])
}
