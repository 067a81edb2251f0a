package signalstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"strconv"

	"go.mau.fi/whatsmeow/util/keys"
)

// One-time prekeys are kept in blocks of 32, private halves only; an id is never used again, even after RemovePreKey:
// the high-water mark "ph" remembers the highest id ever made.
//
// A block is two big-endian bit masks (present, uploaded; bit i is the key with id block*32+i) and the present keys in
// the order of their ids. A block without keys is deleted.
const (
	prefixPreKeys  = "p/"
	itemHighPreKey = "ph"
	blockSize      = 32
	keySize        = 32
	blockHeader    = 8
)

type block struct {
	present, uploaded uint32
	keys              [blockSize][keySize]byte
}

func decodeBlock(b []byte) (*block, error) {
	var bl block
	if len(b) < blockHeader {
		return nil, fmt.Errorf("signalstore: prekey block of %d bytes", len(b))
	}
	bl.present, bl.uploaded = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	rest := b[blockHeader:]
	for i := range blockSize {
		if bl.present&(1<<i) == 0 {
			continue
		}
		if len(rest) < keySize {
			return nil, fmt.Errorf("signalstore: prekey block of %d bytes is too short", len(b))
		}
		copy(bl.keys[i][:], rest)
		rest = rest[keySize:]
	}
	if len(rest) != 0 || bl.uploaded&^bl.present != 0 {
		return nil, fmt.Errorf("signalstore: malformed prekey block of %d bytes", len(b))
	}
	return &bl, nil
}

func (bl *block) encode() []byte {
	out := make([]byte, blockHeader, blockHeader+blockSize*keySize)
	binary.BigEndian.PutUint32(out, bl.present)
	binary.BigEndian.PutUint32(out[4:], bl.uploaded)
	for i := range blockSize {
		if bl.present&(1<<i) != 0 {
			out = append(out, bl.keys[i][:]...)
		}
	}
	return out
}

func (bl *block) uploadedCount() (n int) {
	for m := bl.uploaded; m != 0; m &= m - 1 {
		n++
	}
	return n
}

func blockName(id uint32) string { return prefixPreKeys + strconv.FormatUint(uint64(id/blockSize), 10) }

func (s *Store) loadBlock(name string) (*block, error) {
	b, ok := s.items[name]
	if !ok {
		return &block{}, nil
	}
	return decodeBlock(b)
}

func (s *Store) saveBlock(name string, bl *block, step bool) error {
	if bl.present == 0 {
		return s.remove(name, step)
	}
	return s.put(name, bl.encode(), step)
}

func (s *Store) highPreKey() uint32 {
	if b := s.items[itemHighPreKey]; len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// newPreKeys makes the next n prekeys: the blocks they fall into and the high-water mark are written once each.
func (s *Store) newPreKeys(n int, uploaded bool) ([]*keys.PreKey, error) {
	out := make([]*keys.PreKey, 0, n)
	high := s.highPreKey()
	for len(out) < n {
		name := blockName(high + 1)
		bl, err := s.loadBlock(name)
		if err != nil {
			return nil, err
		}
		for len(out) < n && blockName(high+1) == name {
			high++
			key := keys.NewPreKey(high)
			bit := uint32(1) << (high % blockSize)
			bl.present |= bit
			if uploaded {
				bl.uploaded |= bit
				s.uploaded++
			}
			bl.keys[high%blockSize] = *key.Priv
			out = append(out, key)
		}
		if err := s.saveBlock(name, bl, false); err != nil {
			return nil, err
		}
	}
	return out, s.put(itemHighPreKey, binary.BigEndian.AppendUint32(nil, high), false)
}

// blocks are the numbers of the stored blocks in order.
func (s *Store) blocks() ([]uint32, error) {
	var out []uint32
	for name := range s.items {
		if len(name) > len(prefixPreKeys) && name[:len(prefixPreKeys)] == prefixPreKeys {
			n, err := strconv.ParseUint(name[len(prefixPreKeys):], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("signalstore: prekey item %q: %w", name, err)
			}
			out = append(out, uint32(n))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out, nil
}

// GetOrGenPreKeys gives count keys that were not uploaded yet, oldest first, and makes what is missing.
func (s *Store) GetOrGenPreKeys(_ context.Context, count uint32) ([]*keys.PreKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*keys.PreKey, 0, count)
	numbers, err := s.blocks()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		bl, err := s.loadBlock(blockName(n * blockSize))
		if err != nil {
			return nil, err
		}
		for i := range uint32(blockSize) {
			if bit := uint32(1) << i; bl.present&bit != 0 && bl.uploaded&bit == 0 && uint32(len(out)) < count {
				out = append(out, preKey(n*blockSize+i, bl.keys[i]))
			}
		}
	}
	made, err := s.newPreKeys(int(count)-len(out), false)
	return append(out, made...), err
}

// GenOnePreKey makes a key that leaves at once (in a retry receipt) and so counts as uploaded.
func (s *Store) GenOnePreKey(context.Context) (*keys.PreKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, err := s.newPreKeys(1, true)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

func preKey(id uint32, priv [keySize]byte) *keys.PreKey {
	return &keys.PreKey{KeyPair: *keys.NewKeyPairFromPrivateKey(priv), KeyID: id}
}

// GetPreKey gives a key, nil when it was used or never made.
func (s *Store) GetPreKey(_ context.Context, id uint32) (*keys.PreKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bl, err := s.loadBlock(blockName(id))
	if err != nil || bl.present&(1<<(id%blockSize)) == 0 {
		return nil, err
	}
	return preKey(id, bl.keys[id%blockSize]), nil
}

// RemovePreKey forgets a used key; its id is not given out again.
func (s *Store) RemovePreKey(ctx context.Context, id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := blockName(id)
	bl, err := s.loadBlock(name)
	if err != nil {
		return err
	}
	bit := uint32(1) << (id % blockSize)
	if bl.present&bit == 0 {
		return nil
	}
	before := bl.uploadedCount()
	bl.present &^= bit
	bl.uploaded &^= bit
	s.uploaded += bl.uploadedCount() - before
	return s.saveBlock(name, bl, isStep(ctx))
}

// MarkPreKeysAsUploaded marks every key up to upToID.
func (s *Store) MarkPreKeysAsUploaded(_ context.Context, upToID uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	numbers, err := s.blocks()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n > upToID/blockSize {
			break
		}
		mask := ^uint32(0)
		if n == upToID/blockSize {
			mask >>= blockSize - 1 - upToID%blockSize
		}
		name := blockName(n * blockSize)
		bl, err := s.loadBlock(name)
		if err != nil {
			return err
		}
		before := bl.uploadedCount()
		bl.uploaded |= bl.present & mask
		s.uploaded += bl.uploadedCount() - before
		if err := s.saveBlock(name, bl, false); err != nil {
			return err
		}
	}
	return nil
}

// UploadedPreKeyCount is the number of keys the server should have.
func (s *Store) UploadedPreKeyCount(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploaded, nil
}
