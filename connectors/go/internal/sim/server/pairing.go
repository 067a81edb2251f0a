package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/sim/accounts"
)

const (
	refCount = 6
	// pairingTime is how long the six refs of a connection are good for: 60 s, then five times 20 s.
	pairingTime    = 160 * time.Second
	confirmTime    = 10 * time.Second
	iqPairDevice   = "pair-device"
	iqPairSuccess  = "pair-success"
	codeRestart    = "515"
	androidName    = "android"
	keyIndexPrefix = "\x06\x02"
)

// pairing is a connection that registers a new companion.
type pairing struct {
	refs      []string
	link      *link
	account   *accounts.Account
	number    uint16
	confirmed chan error
}

// greet decides by the client's payload whether it registers or logs in.
func (c *conn) greet(payload *waWa6.ClientPayload) error {
	if payload.Username != nil {
		return c.login(payload)
	}
	return c.register()
}

func (c *conn) register() error {
	p := &pairing{}
	refs := make([]waBinary.Node, refCount)
	for i := range refs {
		ref := base64.StdEncoding.EncodeToString(randomBytes(24))
		p.refs = append(p.refs, ref)
		refs[i] = waBinary.Node{Tag: "ref", Content: []byte(ref)}
	}
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	c.pairing = p
	for _, ref := range p.refs {
		s.refs[ref] = c
	}
	c.idle.Reset(pairingTime)
	c.send(waBinary.Node{
		Tag:     "iq",
		Attrs:   waBinary.Attrs{"from": types.ServerJID, "type": "set", "id": iqPairDevice, "xmlns": "md"},
		Content: []waBinary.Node{{Tag: "pair-device", Content: refs}},
	})
	return nil
}

// dropPairing forgets what a registering connection had open.
func (s *Server) dropPairing(c *conn) {
	if c.pairing == nil {
		return
	}
	for _, ref := range c.pairing.refs {
		delete(s.refs, ref)
	}
	for phone, waiting := range s.links {
		if waiting == c {
			delete(s.links, phone)
		}
	}
	if c.pairing.confirmed != nil {
		c.pairing.confirm(ErrPairingGone)
	}
}

func (p *pairing) confirm(err error) {
	select {
	case p.confirmed <- err:
	default: // told already
	}
}

// Scan is what a phone does with a QR text. It returns once the companion has confirmed the pairing.
func (s *Server) Scan(ctx context.Context, phone, qr string) (types.JID, error) {
	if _, after, ok := strings.Cut(qr, "#"); ok {
		qr = after
	}
	parts := strings.Split(qr, ",")
	if len(parts) < 4 {
		return types.EmptyJID, ErrQRText
	}
	keyParts := make([][]byte, 3)
	for i := range keyParts {
		raw, err := base64.StdEncoding.DecodeString(parts[i+1])
		if err != nil || len(raw) != 32 {
			return types.EmptyJID, ErrQRText
		}
		keyParts[i] = raw
	}
	s.mu.Lock()
	c := s.refs[parts[0]]
	if c == nil {
		s.mu.Unlock()
		return types.EmptyJID, ErrQRUnknown
	}
	if c.noise != [32]byte(keyParts[0]) {
		s.mu.Unlock()
		return types.EmptyJID, ErrQRText
	}
	address, confirmed, err := s.pairSuccess(c, s.Accounts.Ensure(phone, ""), keyParts[1], keyParts[2])
	s.mu.Unlock()
	if err != nil {
		return types.EmptyJID, err
	}
	return address, wait(ctx, confirmed)
}

func wait(ctx context.Context, confirmed <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	select {
	case err := <-confirmed:
		return err
	case <-ctx.Done():
		return ErrPairingSilent
	}
}

// pairSuccess signs the companion's identity with the phone's key and tells it who it is.
func (s *Server) pairSuccess(c *conn, a *accounts.Account, identity, advSecret []byte) (types.JID, <-chan error, error) {
	if c.pairing.confirmed != nil {
		return types.EmptyJID, nil, ErrPairingBusy
	}
	number, err := s.Accounts.ReserveDevice(a)
	if err != nil {
		return types.EmptyJID, nil, err
	}
	signed, err := signDevice(a, number, identity, advSecret, s.Now())
	if err != nil {
		return types.EmptyJID, nil, err
	}
	p := c.pairing
	p.account, p.number, p.confirmed = a, number, make(chan error, 1)
	pn, lid := a.PN(), a.Hidden()
	pn.Device, lid.Device = number, number
	c.send(waBinary.Node{
		Tag:   "iq",
		Attrs: waBinary.Attrs{"from": types.ServerJID, "type": "set", "id": iqPairSuccess, "xmlns": "md", "t": stamp(s.Now())},
		Content: []waBinary.Node{{Tag: "pair-success", Content: []waBinary.Node{
			{Tag: "device-identity", Content: signed},
			{Tag: "biz", Attrs: waBinary.Attrs{"name": ""}},
			{Tag: "device", Attrs: waBinary.Attrs{"jid": pn, "lid": lid}},
			{Tag: "platform", Attrs: waBinary.Attrs{"name": androidName}},
		}}},
	})
	return pn, p.confirmed, nil
}

func signDevice(a *accounts.Account, number uint16, identity, advSecret []byte, now time.Time) ([]byte, error) {
	details, err := proto.Marshal(&waAdv.ADVDeviceIdentity{
		RawID: proto.Uint32(uint32(number)), KeyIndex: proto.Uint32(uint32(number)), Timestamp: proto.Uint64(uint64(now.Unix())),
	})
	if err != nil {
		return nil, err
	}
	message := append(append(append([]byte{}, whatsmeow.AdvAccountSignaturePrefix...), details...), identity...)
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*a.Key.Priv), message)
	signed, err := proto.Marshal(&waAdv.ADVSignedDeviceIdentity{Details: details, AccountSignatureKey: a.Key.Pub[:], AccountSignature: signature[:]})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, advSecret)
	mac.Write(signed)
	return proto.Marshal(&waAdv.ADVSignedDeviceIdentityHMAC{Details: signed, HMAC: mac.Sum(nil)})
}

// onPairingAnswer handles the client's results during registration.
func (c *conn) onPairingAnswer(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.pairing
	if p == nil || p.account == nil || text(node, "id") != iqPairSuccess {
		return
	}
	if text(node, "type") != "result" || child(node, "pair-device-sign") == nil {
		p.confirm(ErrPairingRefused)
		p.account, p.confirmed = nil, nil // another scan may do better
		return
	}
	s.stats.query("pair-device-sign")
	s.Accounts.AddDevice(p.account, p.number, c.noise, androidName)
	s.tellDevices(p.account)
	p.confirm(nil)
	s.stats.paired++
	if s.faultsOf(p.account.Phone).NoRestart {
		return // the client is left with a connection on which nothing comes any more
	}
	c.bye(waBinary.Node{Tag: "stream:error", Attrs: waBinary.Attrs{"code": codeRestart}})
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}
