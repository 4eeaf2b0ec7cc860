package chaos

import (
	"fmt"
	"strings"
	"time"
)

// stage is what one case has: its own names, and the ids of what it made. Verbs that prepare return an error when the cloud does not do what it should; the request under
// test goes through the same client, but its answer may be lost.
type stage struct {
	*client
	name   string // of everything the case makes: what a lost answer made is found by it
	image  string
	server string
	volume string
	snap   string
	port   string
	other  string // a second volume
	made   string // an image
	group  string // an aggregate
	ill    bool   // a condition lasts
}

const patience = 60 * time.Second

// boot asks for a server.
func (s *stage) boot(extra object) error {
	body := object{"name": s.name, "imageRef": s.image, "flavorRef": "42", "networks": "auto"}
	for k, v := range extra {
		body[k] = v
	}
	r, err := s.do("POST", compute, "/servers", object{"server": body})
	if err == nil {
		s.server = r.str("server/id")
	}
	return err
}

// bootVolume asks for a server with a blank second disk, a volume made on the way.
func (s *stage) bootVolume() error {
	return s.boot(object{"block_device_mapping_v2": []object{
		{"boot_index": 0, "uuid": s.image, "source_type": "image", "destination_type": "local", "delete_on_termination": true},
		{"boot_index": -1, "source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": true}}})
}

// running prepares an ACTIVE server.
func (s *stage) running() error {
	if err := s.boot(nil); err != nil {
		return err
	}
	return s.serverIs("ACTIVE")
}

func (s *stage) serverIs(want string) error {
	var r reply
	if !poll(patience, 5*time.Millisecond, func() bool {
		r, _ = s.try("GET", compute, "/servers/"+s.server, nil)
		return r.str("server/status") == want && r.str("server/OS-EXT-STS:task_state") == ""
	}) {
		return fmt.Errorf("server is not %s: %s", want, r)
	}
	return nil
}

// action asks for one of the server's actions.
func (s *stage) action(name string, arg any) error {
	_, err := s.do("POST", compute, "/servers/"+s.server+"/action", object{name: arg})
	return err
}

// after prepares a server that an action has brought to a status.
func after(action, status string) func(*stage) error {
	return func(s *stage) error {
		if err := s.running(); err != nil {
			return err
		}
		if err := s.action(action, nil); err != nil {
			return err
		}
		return s.serverIs(status)
	}
}

// does is the request for an action.
func does(action string, arg any) func(*stage) error {
	return func(s *stage) error { return s.action(action, arg) }
}

// makeVolume asks for a volume.
func (s *stage) makeVolume() error {
	r, err := s.do("POST", volume, "/volumes", object{"volume": object{"name": s.name, "size": 1}})
	if err == nil {
		s.volume = r.str("volume/id")
	}
	return err
}

// available prepares a volume.
func (s *stage) available() error {
	if err := s.makeVolume(); err != nil {
		return err
	}
	return s.volumeIs("available")
}

func (s *stage) volumeIs(want string) error {
	var r reply
	if !poll(patience, 5*time.Millisecond, func() bool {
		r, _ = s.try("GET", volume, "/volumes/"+s.volume, nil)
		return r.str("volume/status") == want
	}) {
		return fmt.Errorf("volume is not %s: %s", want, r)
	}
	return nil
}

func (s *stage) volumeAction(name string, arg any) error {
	_, err := s.do("POST", volume, "/volumes/"+s.volume+"/action", object{name: arg})
	return err
}

// runningAndVolume prepares a volume, and a server on its host.
func (s *stage) runningAndVolume() error {
	if err := s.available(); err != nil {
		return err
	}
	r, err := s.do("GET", volume, "/volumes/"+s.volume, nil)
	if err != nil {
		return err
	}
	host, _, _ := strings.Cut(r.str("volume/os-vol-host-attr:host"), "@")
	if err := s.boot(object{"availability_zone": "nova:" + host}); err != nil {
		return err
	}
	return s.serverIs("ACTIVE")
}

func (s *stage) attachVolume() error {
	_, err := s.do("POST", compute, "/servers/"+s.server+"/os-volume_attachments", object{"volumeAttachment": object{"volumeId": s.volume}})
	return err
}

func (s *stage) attached() error {
	if err := s.runningAndVolume(); err != nil {
		return err
	}
	if err := s.attachVolume(); err != nil {
		return err
	}
	return s.volumeIs("in-use")
}

func (s *stage) detachVolume() error {
	_, err := s.do("DELETE", compute, "/servers/"+s.server+"/os-volume_attachments/"+s.volume, nil)
	return err
}

func (s *stage) attachInterface() error {
	nets, err := s.do("GET", network, "/networks?name=private", nil)
	if err != nil {
		return err
	}
	r, err := s.do("POST", compute, "/servers/"+s.server+"/os-interface", object{"interfaceAttachment": object{"net_id": nets.str("networks/0/id")}})
	if err == nil {
		s.port = r.str("interfaceAttachment/port_id")
	}
	return err
}

func (s *stage) plugged() error {
	if err := s.running(); err != nil {
		return err
	}
	if err := s.attachInterface(); err != nil {
		return err
	}
	return s.serverIs("ACTIVE")
}

func (s *stage) detachInterface() error {
	_, err := s.do("DELETE", compute, "/servers/"+s.server+"/os-interface/"+s.port, nil)
	return err
}

func (s *stage) makeSnapshot() error {
	r, err := s.do("POST", volume, "/snapshots", object{"snapshot": object{"name": s.name, "volume_id": s.volume, "force": true}})
	if err == nil {
		s.snap = r.str("snapshot/id")
	}
	return err
}

func (s *stage) snapshotted() error {
	if err := s.available(); err != nil {
		return err
	}
	if err := s.makeSnapshot(); err != nil {
		return err
	}
	var r reply
	if !poll(patience, 5*time.Millisecond, func() bool {
		r, _ = s.try("GET", volume, "/snapshots/"+s.snap, nil)
		return r.str("snapshot/status") == "available"
	}) {
		return fmt.Errorf("snapshot is not available: %s", r)
	}
	return nil
}

func (s *stage) delete(port int, path string) error {
	r, err := s.try("DELETE", port, path, nil)
	if err == nil && r.code >= 300 && r.code != 404 {
		err = fmt.Errorf("%s", r)
	}
	return err
}

// mine lists the ids of a collection's things that carry the case's name.
func (s *stage) mine(port int, collection, key string) ([]string, error) {
	r, err := s.get(port, collection)
	if err != nil {
		return nil, err
	}
	if r.code != 200 {
		return nil, fmt.Errorf("%s", r)
	}
	var out []string
	for i := range r.list(key) {
		at := fmt.Sprintf("%s/%d/", key, i)
		if strings.HasPrefix(r.str(at+"name"), s.name) {
			out = append(out, r.str(at+"id"))
		}
	}
	return out, nil
}

// offloaded prepares a shelved server that has left its host.
func (s *stage) offloaded() error {
	if err := after("shelve", "SHELVED")(s); err != nil {
		return err
	}
	if err := s.action("shelveOffload", nil); err != nil {
		return err
	}
	return s.serverIs("SHELVED_OFFLOADED")
}

// deletedForLater prepares a server that can be restored.
func (s *stage) deletedForLater() error {
	if err := s.running(); err != nil {
		return err
	}
	if err := s.delete(compute, "/servers/"+s.server); err != nil {
		return err
	}
	return s.serverIs("SOFT_DELETED")
}

// attachedAndAnother prepares a server with a volume and, on the same host, a free volume as large.
func (s *stage) attachedAndAnother() error {
	if err := s.attached(); err != nil {
		return err
	}
	first := s.volume
	r, err := s.do("POST", volume, "/volumes", object{"volume": object{"name": s.name, "size": 1, "source_volid": first}})
	if err != nil {
		return err
	}
	s.volume = r.str("volume/id")
	err = s.volumeIs("available")
	s.volume, s.other = first, s.volume
	return err
}

func (s *stage) swapVolume() error {
	_, err := s.do("PUT", compute, "/servers/"+s.server+"/os-volume_attachments/"+s.volume, object{"volumeAttachment": object{"volumeId": s.other}})
	return err
}

// staged prepares an image whose bytes wait for their import.
func (s *stage) staged() error {
	r, err := s.do("POST", image, "/images", object{"name": s.name, "disk_format": "raw", "container_format": "bare"})
	if err != nil {
		return err
	}
	s.made = r.str("id")
	_, err = s.do("PUT", image, "/images/"+s.made+"/stage", make([]byte, 4096))
	return err
}

func (s *stage) importImage() error {
	_, err := s.do("POST", image, "/images/"+s.made+"/import", object{"method": object{"name": "glance-direct"}})
	return err
}

// resized prepares a server in VERIFY_RESIZE.
func (s *stage) resized() error {
	if err := s.running(); err != nil {
		return err
	}
	if err := s.action("resize", object{"flavorRef": "84"}); err != nil {
		return err
	}
	return s.serverIs("VERIFY_RESIZE")
}

// onLostHost prepares a server whose host is declared down. The host itself is well, and has to let go of its copy.
func (s *stage) onLostHost() error {
	if err := s.running(); err != nil {
		return err
	}
	r, err := s.do("GET", compute, "/servers/"+s.server, nil)
	if err != nil {
		return err
	}
	return s.services("host="+r.str("server/OS-EXT-SRV-ATTR:host"), true)
}

// hostsBack takes every such declaration back.
func (s *stage) hostsBack() error { return s.services("binary=nova-compute", false) }

// services declares hosts down, or not.
func (s *stage) services(which string, down bool) error {
	r, err := s.get(compute, "/os-services?"+which)
	if err != nil {
		return err
	}
	for i := range r.list("services") {
		at := fmt.Sprintf("services/%d/", i)
		if r.str(at+"forced_down") == fmt.Sprint(down) {
			continue
		}
		if _, err := s.do("PUT", compute, "/os-services/"+r.str(at+"id"), object{"forced_down": down}); err != nil {
			return err
		}
	}
	return nil
}

// aggregate prepares an aggregate with one host.
func (s *stage) aggregate() error {
	r, err := s.do("POST", compute, "/os-aggregates", object{"aggregate": object{"name": s.name}})
	if err != nil {
		return err
	}
	s.group = r.str("aggregate/id")
	hosts, err := s.do("GET", compute, "/os-services?binary=nova-compute", nil)
	if err != nil {
		return err
	}
	return s.inAggregate("add_host", hosts.str("services/0/host"))
}

func (s *stage) inAggregate(action, host string) error {
	_, err := s.do("POST", compute, "/os-aggregates/"+s.group+"/action", object{action: object{"host": host}})
	return err
}

func (s *stage) cacheImage() error {
	_, err := s.do("POST", compute, "/os-aggregates/"+s.group+"/images", object{"cache": []object{{"id": s.image}}})
	return err
}

func (s *stage) noAggregate() error {
	r, err := s.get(compute, "/os-aggregates/"+s.group)
	if err != nil {
		return err
	}
	for i := range r.list("aggregate/hosts") {
		if err := s.inAggregate("remove_host", r.str(fmt.Sprintf("aggregate/hosts/%d", i))); err != nil {
			return err
		}
	}
	return s.delete(compute, "/os-aggregates/"+s.group)
}
