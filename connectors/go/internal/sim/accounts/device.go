package accounts

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.mau.fi/whatsmeow/types"
)

// Bundle is the part of a device's Signal keys that is not used up.
type Bundle struct {
	Registration []byte
	Identity     []byte
	SignedID     []byte
	SignedKey    []byte
	Signature    []byte
}

// PreKey is a public one-time key: three bytes of id and 32 of key.
type PreKey struct {
	ID  []byte
	Key []byte
}

// Device is a companion of a phone.
type Device struct {
	Account  *Account
	Number   uint16
	Noise    [32]byte
	Platform string
	Bundle   *Bundle
	Queue    Queue
	preKeys  []PreKey
}

type deviceRecord struct {
	Noise    []byte
	Platform string
	Bundle   *Bundle `json:",omitempty"`
}

// PN is the device's address by phone number.
func (d *Device) PN() types.JID {
	j := d.Account.PN()
	j.Device = d.Number
	return j
}

// Hidden is the device's address by hidden id.
func (d *Device) Hidden() types.JID {
	j := d.Account.Hidden()
	j.Device = d.Number
	return j
}

func (d *Device) key() string { return d.Account.Phone + "/" + strconv.Itoa(int(d.Number)) }

// ReserveDevice gives out the next device number of an account.
func (d *Directory) ReserveDevice(a *Account) (uint16, error) {
	for range maxDevice {
		if a.last++; a.last > maxDevice {
			a.last = 1
		}
		if a.Devices[a.last] == nil {
			d.Save(a)
			return a.last, nil
		}
	}
	return 0, fmt.Errorf("phone %s has %d devices already", a.Phone, len(a.Devices))
}

// AddDevice links a companion.
func (d *Directory) AddDevice(a *Account, number uint16, noise [32]byte, platform string) *Device {
	dev := &Device{Account: a, Number: number, Noise: noise, Platform: platform, Queue: newQueue()}
	a.Devices[number] = dev
	d.saveDevice(dev)
	return dev
}

// RemoveDevice unlinks a companion with its keys and queue.
func (d *Directory) RemoveDevice(dev *Device) {
	delete(dev.Account.Devices, dev.Number)
	d.db.Delete(bucketDevices, dev.key())
	for _, k := range dev.preKeys {
		d.db.Delete(bucketPreKeys, preKeyKey(dev, k.ID))
	}
	dev.preKeys = nil
	for _, e := range dev.Queue.Entries() {
		d.Dequeue(dev, e)
	}
}

func (d *Directory) saveDevice(dev *Device) {
	d.db.Put(bucketDevices, dev.key(), encode(deviceRecord{dev.Noise[:], dev.Platform, dev.Bundle}))
}

func (d *Directory) loadDevice(key string, value []byte) error {
	phone, number, err := splitKey(key)
	if err != nil {
		return err
	}
	var r deviceRecord
	if err = json.Unmarshal(value, &r); err != nil {
		return err
	}
	a := d.byPhone[phone]
	if a == nil || len(r.Noise) != 32 {
		return fmt.Errorf("device %s is damaged", key)
	}
	a.Devices[number] = &Device{Account: a, Number: number, Noise: [32]byte(r.Noise), Platform: r.Platform, Bundle: r.Bundle, Queue: newQueue()}
	return nil
}

// SetBundle replaces a device's lasting keys.
func (d *Directory) SetBundle(dev *Device, b *Bundle) {
	dev.Bundle = b
	d.saveDevice(dev)
}

// AddPreKeys adds one-time keys; an id given again replaces nothing.
func (d *Directory) AddPreKeys(dev *Device, added []PreKey) {
	known := make(map[string]bool, len(dev.preKeys))
	for _, k := range dev.preKeys {
		known[string(k.ID)] = true
	}
	for _, k := range added {
		if !known[string(k.ID)] {
			known[string(k.ID)] = true
			dev.preKeys = append(dev.preKeys, k)
			d.db.Put(bucketPreKeys, preKeyKey(dev, k.ID), k.Key)
		}
	}
}

// TakePreKey hands out a one-time key, each only once; false when there is none.
func (d *Directory) TakePreKey(dev *Device) (PreKey, bool) {
	if len(dev.preKeys) == 0 {
		return PreKey{}, false
	}
	k := dev.preKeys[0]
	dev.preKeys = dev.preKeys[1:]
	d.db.Delete(bucketPreKeys, preKeyKey(dev, k.ID))
	return k, true
}

// PreKeyCount is how many one-time keys are left.
func (d *Device) PreKeyCount() int { return len(d.preKeys) }

// PreKeyIDs lists the ids of the one-time keys that are left.
func (d *Device) PreKeyIDs() [][]byte {
	out := make([][]byte, len(d.preKeys))
	for i, k := range d.preKeys {
		out[i] = k.ID
	}
	return out
}

func preKeyKey(dev *Device, id []byte) string { return dev.key() + "/" + hex.EncodeToString(id) }

func (d *Directory) loadPreKey(key string, value []byte) error {
	at := strings.LastIndexByte(key, '/')
	if at < 0 {
		return fmt.Errorf("prekey %q is damaged", key)
	}
	dev, err := d.deviceByKey(key[:at])
	if err != nil {
		return err
	}
	id, err := hex.DecodeString(key[at+1:])
	if err != nil {
		return fmt.Errorf("prekey %q: %w", key, err)
	}
	dev.preKeys = append(dev.preKeys, PreKey{id, value})
	return nil
}

func (d *Directory) deviceByKey(key string) (*Device, error) {
	phone, number, err := splitKey(key)
	if err != nil {
		return nil, err
	}
	if a := d.byPhone[phone]; a != nil && a.Devices[number] != nil {
		return a.Devices[number], nil
	}
	return nil, fmt.Errorf("device %s does not exist", key)
}

func splitKey(key string) (string, uint16, error) {
	phone, rest, ok := strings.Cut(key, "/")
	number, err := strconv.ParseUint(rest, 10, 16)
	if !ok || err != nil {
		return "", 0, fmt.Errorf("device key %q is damaged", key)
	}
	return phone, uint16(number), nil
}
