package server

import "wharf/connectors/internal/sim/accounts"

// DeviceView is a companion as the control API shows it.
type DeviceView struct {
	Device  uint16 `json:"device"`
	JID     string `json:"jid"`
	Online  bool   `json:"online"`
	Queue   int    `json:"queue"`
	PreKeys int    `json:"prekeys"`
}

// PhoneView is a phone as the control API shows it.
type PhoneView struct {
	Phone   string       `json:"phone"`
	Name    string       `json:"name"`
	PN      string       `json:"pn"`
	LID     string       `json:"lid"`
	Devices []DeviceView `json:"devices"`
	Faults  *Faults      `json:"faults,omitempty"`
}

// CreatePhone makes a phone, or renames it.
func (s *Server) CreatePhone(phone, name string) PhoneView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(s.Accounts.Ensure(phone, name))
}

// Phone shows one phone.
func (s *Server) Phone(phone string) (PhoneView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.Accounts.Phone(phone)
	if a == nil {
		return PhoneView{}, ErrUnknownPhone
	}
	return s.view(a), nil
}

// Phones shows all phones.
func (s *Server) Phones() []PhoneView {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []PhoneView{}
	for _, a := range s.Accounts.Sorted() {
		out = append(out, s.view(a))
	}
	return out
}

func (s *Server) view(a *accounts.Account) PhoneView {
	v := PhoneView{Phone: a.Phone, Name: a.Name, PN: a.PN().String(), LID: a.Hidden().String(), Devices: []DeviceView{}}
	for _, dev := range a.Sorted() {
		v.Devices = append(v.Devices, DeviceView{dev.Number, dev.PN().String(), s.online[dev] != nil, dev.Queue.Len(), dev.PreKeyCount()})
	}
	if f := s.faults[a.Phone]; f != nil && f.Faults != (Faults{}) {
		shown := f.Faults
		v.Faults = &shown
	}
	return v
}
