package server

import (
	"crypto/sha1"
	"strconv"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/accounts"
)

const (
	// lowPreKeys is when a device is told to upload more.
	lowPreKeys = 5
	djbType    = "\x05"
)

func (c *conn) onPreKeyCount(q *query) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	q.answer(waBinary.Node{Tag: "count", Attrs: waBinary.Attrs{"value": strconv.Itoa(c.device.PreKeyCount())}})
}

func (c *conn) onPreKeyUpload(q *query) {
	bundle := &accounts.Bundle{Registration: childContent(q.node, "registration"), Identity: childContent(q.node, "identity")}
	list := child(q.node, "list")
	if !readSigned(bundle, child(q.node, "skey")) || len(bundle.Registration) != 4 || len(bundle.Identity) != 32 || list == nil {
		q.refuse("400", "bad-request")
		return
	}
	var uploaded []accounts.PreKey
	for _, n := range list.GetChildren() {
		k := accounts.PreKey{ID: childContent(&n, "id"), Key: childContent(&n, "value")}
		if len(k.ID) != 3 || len(k.Key) != 32 {
			q.refuse("400", "bad-request")
			return
		}
		uploaded = append(uploaded, k)
	}
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Accounts.SetBundle(c.device, bundle)
	s.Accounts.AddPreKeys(c.device, uploaded)
	s.whenKept(func() { q.answer() })
}

func (c *conn) onPreKeyRotate(q *query) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.device.Bundle == nil {
		q.refuse("404", "item-not-found")
		return
	}
	rotated := *c.device.Bundle
	if !readSigned(&rotated, child(child(q.node, "rotate"), "skey")) {
		q.refuse("400", "bad-request")
		return
	}
	s.Accounts.SetBundle(c.device, &rotated)
	q.answer()
}

func readSigned(b *accounts.Bundle, skey *waBinary.Node) bool {
	if skey == nil {
		return false
	}
	b.SignedID, b.SignedKey, b.Signature = childContent(skey, "id"), childContent(skey, "value"), childContent(skey, "signature")
	return len(b.SignedID) == 3 && len(b.SignedKey) == 32 && len(b.Signature) == 64
}

func signedNode(b *accounts.Bundle) waBinary.Node {
	return waBinary.Node{Tag: "skey", Content: []waBinary.Node{
		{Tag: "id", Content: b.SignedID}, {Tag: "value", Content: b.SignedKey}, {Tag: "signature", Content: b.Signature},
	}}
}

func (c *conn) onPreKeyFetch(q *query) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var users []waBinary.Node
	for _, u := range child(q.node, "key").GetChildren() {
		address := jid(&u, "jid")
		users = append(users, s.bundleNode(address, s.Accounts.Device(address)))
	}
	q.answer(waBinary.Node{Tag: "list", Content: users})
}

// bundleNode gives out a device's keys; each one-time key only once.
func (s *Server) bundleNode(address types.JID, dev *accounts.Device) waBinary.Node {
	user := waBinary.Node{Tag: "user", Attrs: waBinary.Attrs{"jid": address}}
	if dev == nil || dev.Bundle == nil {
		user.Content = []waBinary.Node{{Tag: "error", Attrs: waBinary.Attrs{"code": "404", "text": "item-not-found"}}}
		return user
	}
	user.Attrs["t"] = stamp(s.Now())
	nodes := []waBinary.Node{
		{Tag: "registration", Content: dev.Bundle.Registration},
		{Tag: "type", Content: []byte(djbType)},
		{Tag: "identity", Content: dev.Bundle.Identity},
	}
	if k, ok := s.Accounts.TakePreKey(dev); ok {
		nodes = append(nodes, waBinary.Node{Tag: "key", Content: []waBinary.Node{{Tag: "id", Content: k.ID}, {Tag: "value", Content: k.Key}}})
	}
	if left := dev.PreKeyCount(); left < lowPreKeys {
		s.notify(dev, "encrypt", waBinary.Attrs{"from": types.ServerJID}, waBinary.Node{Tag: "count", Attrs: waBinary.Attrs{"value": strconv.Itoa(left)}})
	}
	user.Content = append(nodes, signedNode(dev.Bundle))
	return user
}

func (c *conn) onPreKeyDigest(q *query) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	b := c.device.Bundle
	if b == nil {
		q.refuse("404", "item-not-found")
		return
	}
	hash := sha1.New()
	hash.Write(b.Identity)
	hash.Write(b.SignedKey)
	hash.Write(b.Signature)
	var ids []waBinary.Node
	for _, id := range c.device.PreKeyIDs() {
		ids = append(ids, waBinary.Node{Tag: "id", Content: id})
		hash.Write(id)
	}
	q.answer(waBinary.Node{Tag: "digest", Content: []waBinary.Node{
		{Tag: "registration", Content: b.Registration}, {Tag: "type", Content: []byte(djbType)}, {Tag: "identity", Content: b.Identity},
		signedNode(b), {Tag: "list", Content: ids}, {Tag: "hash", Content: hash.Sum(nil)},
	}})
}
