// Package accounts is what the simulated WhatsApp knows: phones, their companion devices, prekeys and offline queues.
//
// Its rule: plain state without I/O of its own and without locking. The server's one lock guards it, and each change
// is handed to the database in the order it was made.
package accounts

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"wharf/connectors/internal/sim/database"
)

const (
	bucketPhones  = "phones"
	bucketDevices = "devices"
	bucketPreKeys = "prekeys"
	bucketQueue   = "queue"
	// lidBase lifts a phone number into the range of hidden ids: 15 digits that are nobody's number.
	lidBase = 100_000_000_000_000
	// maxDevice is the last device number given out before numbers are used again; the wire has one byte for it.
	maxDevice = 99
)

var phonePattern = regexp.MustCompile(`^[1-9][0-9]{6,13}$`)

// ValidPhone tells whether text is a phone number in international form, digits only.
func ValidPhone(text string) bool { return phonePattern.MatchString(text) }

// Account is a phone number with what the server keeps about it.
type Account struct {
	Phone   string
	LID     string
	Name    string
	Key     *keys.KeyPair // the phone's identity, which signs its companions
	Devices map[uint16]*Device
	Blocked []string
	Privacy map[string]string
	last    uint16
}

// PN is the account's address by phone number.
func (a *Account) PN() types.JID { return types.NewJID(a.Phone, types.DefaultUserServer) }

// Hidden is the account's address by hidden id.
func (a *Account) Hidden() types.JID { return types.NewJID(a.LID, types.HiddenUserServer) }

// Sorted lists the devices by number.
func (a *Account) Sorted() []*Device {
	out := make([]*Device, 0, len(a.Devices))
	for _, d := range a.Devices {
		out = append(out, d)
	}
	slices.SortFunc(out, func(x, y *Device) int { return cmp.Compare(x.Number, y.Number) })
	return out
}

// Directory holds all accounts.
type Directory struct {
	db      *database.Database
	byPhone map[string]*Account
	byLID   map[string]*Account
	queued  uint64 // number of the last queue entry, over all devices
}

type accountRecord struct {
	Key     []byte
	Name    string
	Last    uint16
	Blocked []string          `json:",omitempty"`
	Privacy map[string]string `json:",omitempty"`
}

// Load reads the state left by an earlier process.
func Load(db *database.Database) (*Directory, error) {
	d := &Directory{db: db, byPhone: map[string]*Account{}, byLID: map[string]*Account{}}
	for _, step := range []struct {
		bucket string
		read   func(string, []byte) error
	}{{bucketPhones, d.loadAccount}, {bucketDevices, d.loadDevice}, {bucketPreKeys, d.loadPreKey}, {bucketQueue, d.loadEntry}} {
		if err := db.Each(step.bucket, step.read); err != nil {
			return nil, fmt.Errorf("reading %s: %w", step.bucket, err)
		}
	}
	return d, nil
}

// Ensure returns the account of a phone, made now if it is new. A name replaces the one known; empty keeps it.
func (d *Directory) Ensure(phone, name string) *Account {
	a := d.byPhone[phone]
	if a == nil {
		a = d.add(phone, keys.NewKeyPair())
		a.Name = cmp.Or(name, "User "+phone)
		d.Save(a)
	} else if name != "" && a.Name != name {
		a.Name = name
		d.Save(a)
	}
	return a
}

func (d *Directory) add(phone string, key *keys.KeyPair) *Account {
	number, err := strconv.ParseUint(phone, 10, 64)
	if err != nil {
		number = 0 // ValidPhone is checked where numbers come in
	}
	a := &Account{Phone: phone, LID: strconv.FormatUint(lidBase+number%lidBase, 10), Key: key, Devices: map[uint16]*Device{}, Privacy: map[string]string{}}
	d.byPhone[phone], d.byLID[a.LID] = a, a
	return a
}

// Save hands the account's own fields to the database.
func (d *Directory) Save(a *Account) {
	d.db.Put(bucketPhones, a.Phone, encode(accountRecord{a.Key.Priv[:], a.Name, a.last, a.Blocked, a.Privacy}))
}

func (d *Directory) loadAccount(phone string, value []byte) error {
	var r accountRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	if len(r.Key) != 32 {
		return fmt.Errorf("phone %s has a key of %d bytes", phone, len(r.Key))
	}
	a := d.add(phone, keys.NewKeyPairFromPrivateKey([32]byte(r.Key)))
	a.Name, a.last, a.Blocked = r.Name, r.Last, r.Blocked
	if r.Privacy != nil {
		a.Privacy = r.Privacy
	}
	return nil
}

// Phone finds an account by number.
func (d *Directory) Phone(phone string) *Account { return d.byPhone[phone] }

// Find finds an account by address, of either kind.
func (d *Directory) Find(jid types.JID) *Account {
	switch jid.Server {
	case types.HiddenUserServer:
		return d.byLID[jid.User]
	case types.DefaultUserServer, types.LegacyUserServer:
		return d.byPhone[jid.User]
	default:
		return nil
	}
}

// Device finds a companion by its address with device number.
func (d *Directory) Device(jid types.JID) *Device {
	if a := d.Find(jid); a != nil {
		return a.Devices[jid.Device]
	}
	return nil
}

// Sorted lists the accounts by phone number.
func (d *Directory) Sorted() []*Account {
	out := make([]*Account, 0, len(d.byPhone))
	for _, a := range d.byPhone {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y *Account) int { return cmp.Compare(x.Phone, y.Phone) })
	return out
}

// All visits the accounts in no order.
func (d *Directory) All(visit func(*Account)) {
	for _, a := range d.byPhone {
		visit(a)
	}
}

// encode is for records made here, whose fields all have a JSON form.
func encode(record any) []byte {
	out, err := json.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", record, err))
	}
	return out
}
