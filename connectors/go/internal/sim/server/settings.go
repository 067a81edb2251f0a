package server

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// privacyDefaults are the settings of a new phone.
var privacyDefaults = map[string]string{
	"readreceipts": "all", "last": "all", "status": "all", "profile": "all", "groupadd": "all", "online": "all", "calladd": "all",
}

func (c *conn) onPrivacyGet(q *query) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	var categories []waBinary.Node
	for name, value := range privacyDefaults {
		if chosen := c.device.Account.Privacy[name]; chosen != "" {
			value = chosen
		}
		categories = append(categories, waBinary.Node{Tag: "category", Attrs: waBinary.Attrs{"name": name, "value": value}})
	}
	q.answer(waBinary.Node{Tag: "privacy", Content: categories})
}

func (c *conn) onPrivacySet(q *query) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	for _, n := range child(q.node, "privacy").GetChildren() {
		if _, known := privacyDefaults[text(&n, "name")]; !known {
			q.refuse("400", "bad-request")
			return
		}
		c.device.Account.Privacy[text(&n, "name")] = text(&n, "value")
	}
	c.srv.Accounts.Save(c.device.Account)
	q.answer()
}

// onPrivacyTokens passes a trust token on to the contact it is meant for.
func (c *conn) onPrivacyTokens(q *query) {
	s := c.srv
	s.mu.Lock()
	for _, token := range child(q.node, "tokens").GetChildren() {
		target := s.Accounts.Find(jid(&token, "jid"))
		if target == nil {
			continue
		}
		token.Attrs["t"] = stamp(s.Now())
		token.Attrs["jid"] = c.device.Account.Hidden()
		for _, dev := range target.Sorted() {
			s.notify(dev, "privacy_token", waBinary.Attrs{"from": c.device.Account.Hidden(), "sender_lid": c.device.Account.Hidden()},
				waBinary.Node{Tag: "tokens", Content: []waBinary.Node{token}})
		}
	}
	s.mu.Unlock()
	q.answer()
}

func (c *conn) onBlocklistGet(q *query) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	q.answer(blocklist(c.device.Account.Blocked))
}

func (c *conn) onBlocklistSet(q *query) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	item := child(q.node, "item")
	target := s.Accounts.Find(jid(item, "jid"))
	if target == nil {
		q.refuse("404", "item-not-found")
		return
	}
	a := c.device.Account
	a.Blocked = slices.DeleteFunc(a.Blocked, func(lid string) bool { return lid == target.LID })
	if text(item, "action") == "block" {
		a.Blocked = append(a.Blocked, target.LID)
	}
	s.Accounts.Save(a)
	q.answer(blocklist(a.Blocked))
}

func blocklist(lids []string) waBinary.Node {
	digest := sha256.Sum256([]byte(strings.Join(lids, ",")))
	list := waBinary.Node{Tag: "list", Attrs: waBinary.Attrs{"dhash": base64.RawStdEncoding.EncodeToString(digest[:6]), "addressing_mode": "lid"}}
	var items []waBinary.Node
	for _, lid := range lids {
		items = append(items, waBinary.Node{Tag: "item", Attrs: waBinary.Attrs{"jid": types.NewJID(lid, types.HiddenUserServer)}})
	}
	if items != nil {
		list.Content = items
	}
	return list
}

func (c *conn) onProps(q *query) {
	q.answer(waBinary.Node{Tag: "props", Attrs: waBinary.Attrs{"protocol": "1", "ab_key": "sim", "hash": "sim", "refresh": "86400", "refresh_id": "1"}})
}

func (c *conn) onGroups(q *query) { q.answer(waBinary.Node{Tag: "groups"}) }

func (c *conn) onPicture(q *query) { q.refuse("404", "item-not-found") }

// onAppState tells that each collection is as old as the client's own copy: there is no phone that changes any.
func (c *conn) onAppState(q *query) {
	var collections []waBinary.Node
	for _, n := range child(q.node, "sync").GetChildren() {
		version := text(&n, "version")
		if version == "" {
			version = "0"
		}
		collections = append(collections, waBinary.Node{Tag: "collection", Attrs: waBinary.Attrs{"name": text(&n, "name"), "version": version, "type": "result"}})
	}
	q.answer(waBinary.Node{Tag: "sync", Content: collections})
}
