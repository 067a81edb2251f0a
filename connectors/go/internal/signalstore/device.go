package signalstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// The device: its keys, ids and the account's signature. It becomes an item when pairing has succeeded; until then its
// keys live in memory only, as nobody has seen them but in a QR code.
const itemDevice = "d"

type deviceRow struct {
	Noise        []byte `json:"noise"`
	Identity     []byte `json:"identity"`
	SignedPreKey []byte `json:"spk"`
	Signature    []byte `json:"spk_sig"`
	SignedID     uint32 `json:"spk_id"`
	Registration uint32 `json:"reg"`
	AdvSecret    []byte `json:"adv"`
	ID           string `json:"id"`
	LID          string `json:"lid"`
	Account      []byte `json:"account"`
	Platform     string `json:"platform,omitempty"`
	Business     string `json:"business,omitempty"`
	Push         string `json:"push,omitempty"`
	LIDMigration int64  `json:"lid_migration,omitempty"`
	MetaNonce    string `json:"meta_nonce,omitempty"`
}

// PutDevice journals the device (store.DeviceContainer).
func (s *Store) PutDevice(ctx context.Context, d *store.Device) error {
	account, err := proto.Marshal(d.Account)
	if err != nil {
		return err
	}
	value, err := json.Marshal(deviceRow{
		Noise: d.NoiseKey.Priv[:], Identity: d.IdentityKey.Priv[:], SignedPreKey: d.SignedPreKey.Priv[:],
		Signature: d.SignedPreKey.Signature[:], SignedID: d.SignedPreKey.KeyID, Registration: d.RegistrationID,
		AdvSecret: d.AdvSecretKey, ID: d.GetJID().String(), LID: d.LID.String(), Account: account, Platform: d.Platform,
		Business: d.BusinessName, Push: d.PushName, LIDMigration: d.LIDMigrationTimestamp, MetaNonce: d.CompanionMetaNonce,
	})
	if err != nil {
		return err
	}
	if err := s.locked(func() error {
		s.setSelf(d)
		return s.put(itemDevice, value, isStep(ctx))
	}); err != nil {
		return err
	}
	d.Initialized = true
	return nil
}

// DeleteDevice keeps everything: whatsmeow deletes on 401, 403, 406 and device_removed, but what becomes of the state is
// its owner's decision (Clear).
func (s *Store) DeleteDevice(context.Context, *store.Device) error { return nil }

// Paired tells whether there is a device.
func (s *Store) Paired() bool { return s.get(itemDevice) != nil }

func decodeDevice(b []byte) (*store.Device, error) {
	var r deviceRow
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("signalstore: device: %w", err)
	}
	if len(r.Noise) != 32 || len(r.Identity) != 32 || len(r.SignedPreKey) != 32 || len(r.Signature) != 64 {
		return nil, fmt.Errorf("signalstore: device with keys of a wrong length")
	}
	id, err := types.ParseJID(r.ID)
	if err != nil {
		return nil, fmt.Errorf("signalstore: device id: %w", err)
	}
	lid, err := types.ParseJID(r.LID)
	if err != nil {
		return nil, fmt.Errorf("signalstore: device lid: %w", err)
	}
	account := &waAdv.ADVSignedDeviceIdentity{}
	if err := proto.Unmarshal(r.Account, account); err != nil {
		return nil, fmt.Errorf("signalstore: device account: %w", err)
	}
	signature := [64]byte(r.Signature)
	pair := func(b []byte) *keys.KeyPair { return keys.NewKeyPairFromPrivateKey([32]byte(b)) }
	return &store.Device{
		NoiseKey: pair(r.Noise), IdentityKey: pair(r.Identity),
		SignedPreKey:   &keys.PreKey{KeyPair: *pair(r.SignedPreKey), KeyID: r.SignedID, Signature: &signature},
		RegistrationID: r.Registration, AdvSecretKey: r.AdvSecret, ID: &id, LID: lid, Account: account,
		Platform: r.Platform, BusinessName: r.Business, PushName: r.Push,
		LIDMigrationTimestamp: r.LIDMigration, CompanionMetaNonce: r.MetaNonce, Initialized: true,
	}, nil
}

// Device gives whatsmeow's view of this store: the paired device, or one with fresh keys that waits for pairing. Each
// call makes a new view; two clients must not use them at the same time.
func (s *Store) Device() *store.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	var d *store.Device
	if b, ok := s.items[itemDevice]; ok {
		var err error
		if d, err = decodeDevice(b); err != nil {
			// New has decoded every loaded device and PutDevice has encoded every other.
			panic(err)
		}
	} else {
		if s.fresh == nil {
			s.fresh = newDevice()
		}
		own := *s.fresh
		d = &own
	}
	d.Container, d.LIDs = s, s
	d.SetAllStores(s)
	return d
}

func newDevice() *store.Device {
	var random [36]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic(err) // crypto/rand.Read never fails
	}
	d := &store.Device{
		NoiseKey: keys.NewKeyPair(), IdentityKey: keys.NewKeyPair(),
		AdvSecretKey: random[:32], RegistrationID: binary.BigEndian.Uint32(random[32:]),
	}
	d.SignedPreKey = d.IdentityKey.CreateSignedPreKey(1)
	return d
}

// Self gives the addresses of the paired account, none before pairing.
func (s *Store) Self() []types.JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self
}

// setSelf derives the account's addresses from its device.
func (s *Store) setSelf(d *store.Device) {
	s.self = nil
	for _, jid := range []types.JID{d.GetJID(), d.LID} {
		if !jid.IsEmpty() {
			s.self = append(s.self, jid.ToNonAD())
		}
	}
}
