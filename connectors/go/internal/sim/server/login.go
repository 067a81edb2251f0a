package server

import (
	"strconv"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/wire"
)

func (c *conn) login(payload *waWa6.ClientPayload) error {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	c.idle.Reset(idleTime)
	phone := strconv.FormatUint(payload.GetUsername(), 10)
	var dev *accounts.Device
	if a := s.Accounts.Phone(phone); a != nil && payload.GetDevice() <= 0xffff {
		dev = a.Devices[uint16(payload.GetDevice())]
	}
	if dev == nil || dev.Noise != c.noise {
		s.stats.refusedLogins++
		c.bye(waBinary.Node{Tag: "failure", Attrs: waBinary.Attrs{"reason": "401", "location": "sim"}})
		return nil
	}
	if f := s.faultsOf(phone).nextFailure(dev.Number); f != nil {
		s.stats.refusedLogins++
		c.bye(f.node())
		return nil
	}
	if old := s.online[dev]; old != nil {
		old.bye(conflict("", "replaced"))
	}
	c.device, c.loginAtMS = dev, s.Now().UnixMilli()
	c.out.delay.Store(int64(s.faultsOf(phone).delay()))
	s.online[dev] = c
	s.stats.logins++
	now := stamp(s.Now())
	c.send(waBinary.Node{Tag: "success", Attrs: waBinary.Attrs{
		"t": now, "creation": now, "lid": dev.Hidden(), "props": "27", "companion_enc_static": "", "location": "sim",
	}})
	s.flush(c)
	return nil
}

// flush sends what waited for the device, between the two markers that tell how much it is.
func (s *Server) flush(c *conn) {
	var entries []*accounts.Entry
	counts := map[string]int{}
	for _, e := range c.device.Queue.Entries() {
		if e.Durable && !(e.Key.Class == "message" && s.faultsOf(c.device.Account.Phone).HoldDelivery) {
			entries = append(entries, e)
			counts[e.Key.Class]++
		}
	}
	total := strconv.Itoa(len(entries))
	c.send(infoNode(waBinary.Node{Tag: "offline_preview", Attrs: waBinary.Attrs{
		"count": total, "message": strconv.Itoa(counts["message"]), "receipt": strconv.Itoa(counts["receipt"]),
		"notification": strconv.Itoa(counts["notification"]), "appdata": "0",
	}}))
	for i, e := range entries {
		if f := s.faultsOf(c.device.Account.Phone); f.LoseOffline > 0 && e.Key.Class == "message" {
			f.LoseOffline--
			s.Accounts.Dequeue(c.device, e)
			continue
		}
		s.redeliver(c, e, i)
	}
	c.send(infoNode(waBinary.Node{Tag: "offline", Attrs: waBinary.Attrs{"count": total}}))
}

func infoNode(n waBinary.Node) waBinary.Node {
	return waBinary.Node{Tag: "ib", Attrs: waBinary.Attrs{"from": types.ServerJID}, Content: []waBinary.Node{n}}
}

// redeliver sends a queued stanza marked as offline.
func (s *Server) redeliver(c *conn, e *accounts.Entry, index int) {
	node, err := wire.Decode(e.Payload)
	if err != nil {
		s.Log.Error("queued stanza is damaged", "phone", c.device.Account.Phone, "id", e.Key.ID, "error", err)
		return
	}
	node.Attrs["offline"] = strconv.Itoa(index)
	e.SentOn = c.number
	s.stats.redelivered++
	payload, err := wire.Encode(*node)
	if err != nil {
		s.Log.Error("queued stanza cannot be encoded", "phone", c.device.Account.Phone, "id", e.Key.ID, "error", err)
		return
	}
	c.out.put(payload)
}
