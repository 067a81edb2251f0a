package server

import (
	"strconv"
	"strings"
	"time"

	"go.mau.fi/libsignal/ecc"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/sim/accounts"
)

const aboutText = "Hey there! I am using WhatsApp."

// onUserSync answers which devices, hidden ids and texts belong to users.
func (c *conn) onUserSync(q *query) {
	request := child(q.node, "usync")
	asked, list := child(request, "query"), child(request, "list")
	if asked == nil || list == nil {
		q.refuse("400", "bad-request")
		return
	}
	protocols := map[string]*waBinary.Node{}
	results := make([]waBinary.Node, 0, len(asked.GetChildren()))
	for i, p := range asked.GetChildren() {
		protocols[p.Tag] = &asked.GetChildren()[i]
		results = append(results, waBinary.Node{Tag: p.Tag})
	}
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var users []waBinary.Node
	for _, u := range list.GetChildren() {
		users = append(users, s.userNode(c.device, &u, protocols))
	}
	q.answer(waBinary.Node{Tag: "usync",
		Attrs:   waBinary.Attrs{"sid": text(request, "sid"), "mode": text(request, "mode"), "context": text(request, "context"), "index": "0", "last": "true"},
		Content: []waBinary.Node{{Tag: "result", Content: results}, {Tag: "list", Content: users}}})
}

func (s *Server) userNode(asker *accounts.Device, u *waBinary.Node, protocols map[string]*waBinary.Node) waBinary.Node {
	address := jid(u, "jid")
	contact := child(u, "contact")
	if address.IsEmpty() && contact != nil {
		phone, _, _ := strings.Cut(string(content(contact)), "@")
		address = types.NewJID(strings.TrimPrefix(phone, "+"), types.DefaultUserServer)
	}
	a := s.Accounts.Find(address)
	user := waBinary.Node{Tag: "user", Attrs: waBinary.Attrs{"jid": address}}
	var found []waBinary.Node
	if a != nil {
		user.Attrs["pn_jid"] = a.PN()
		if p := protocols["contact"]; p != nil && text(p, "addressing_mode") == "lid" {
			user.Attrs["jid"] = a.Hidden()
		}
		if protocols["devices"] != nil {
			found = append(found, s.devicesNode(a))
			s.watch(a.Phone, asker)
		}
		if protocols["lid"] != nil {
			found = append(found, waBinary.Node{Tag: "lid", Attrs: waBinary.Attrs{"val": a.Hidden()}})
		}
		if protocols["status"] != nil {
			found = append(found, waBinary.Node{Tag: "status", Attrs: waBinary.Attrs{"t": "0"}, Content: []byte(aboutText)})
		}
	}
	if protocols["contact"] != nil {
		kind := "out"
		if a != nil {
			kind = "in"
		}
		n := waBinary.Node{Tag: "contact", Attrs: waBinary.Attrs{"type": kind}}
		if contact != nil {
			n.Content = content(contact)
		}
		found = append(found, n)
	}
	if found != nil {
		user.Content = found
	}
	return user
}

func (s *Server) devicesNode(a *accounts.Account) waBinary.Node {
	var devices []waBinary.Node
	for _, dev := range a.Sorted() {
		n := strconv.Itoa(int(dev.Number))
		devices = append(devices, waBinary.Node{Tag: "device", Attrs: waBinary.Attrs{"id": n, "key-index": n}})
	}
	now := s.Now()
	index := waBinary.Node{Tag: "key-index-list", Attrs: waBinary.Attrs{"ts": stamp(now)}}
	if signed := keyIndexList(a, now); signed != nil {
		index.Content = signed
	}
	return waBinary.Node{Tag: "devices", Content: []waBinary.Node{{Tag: "device-list", Content: devices}, index}}
}

// keyIndexList is the phone's signed statement which companions are its own; some clients insist on it.
func keyIndexList(a *accounts.Account, now time.Time) []byte {
	list := &waAdv.ADVKeyIndexList{RawID: proto.Uint32(1), Timestamp: proto.Uint64(uint64(now.Unix()))}
	for _, dev := range a.Sorted() {
		list.ValidIndexes = append(list.ValidIndexes, uint32(dev.Number))
		list.CurrentIndex = proto.Uint32(uint32(dev.Number))
	}
	details, err := proto.Marshal(list)
	if err != nil {
		return nil
	}
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*a.Key.Priv), append([]byte(keyIndexPrefix), details...))
	signed, err := proto.Marshal(&waAdv.ADVSignedKeyIndexList{Details: details, AccountSignature: signature[:]})
	if err != nil {
		return nil
	}
	return signed
}

// watch remembers who has to hear of a change in a phone's device list.
func (s *Server) watch(phone string, asker *accounts.Device) {
	if s.watchers[phone] == nil {
		s.watchers[phone] = map[*accounts.Device]bool{}
	}
	s.watchers[phone][asker] = true
}

// tellDevices makes clients that cached a phone's device list forget it.
func (s *Server) tellDevices(a *accounts.Account) {
	for dev := range s.watchers[a.Phone] {
		if dev.Account.Devices[dev.Number] != dev {
			delete(s.watchers[a.Phone], dev)
			continue
		}
		hash := deviceHash(a)
		s.notify(dev, "devices", waBinary.Attrs{"from": a.Hidden()},
			waBinary.Node{Tag: "update", Attrs: waBinary.Attrs{"device_hash": hash, "hash": hash}})
	}
}
