package chaos

import "fmt"

// scenario is a row of the matrix: how a workflow comes to begin.
type scenario struct {
	kind   string // the workflow
	name   string // tells several scenarios of one kind apart
	before func(*stage) error
	begin  func(*stage) error
	after  func(*stage) error // when all is at rest: takes back what before did to the cloud itself
	// agentArms are in force from before begin, to lead the workflow another way.
	agentArms []arm
}

func (s scenario) String() string {
	if s.name == "" {
		return s.kind
	}
	return s.kind + " (" + s.name + ")"
}

// restore is after, where there is one.
func (s scenario) restore(at *stage) error {
	if s.after == nil {
		return nil
	}
	if err := s.after(at); err != nil {
		return fmt.Errorf("putting the cloud back: %w", err)
	}
	return nil
}

// scenarios: at least one for every workflow that is declared, and together they pass every step.
var scenarios = []scenario{
	{kind: "server.create", begin: func(s *stage) error { return s.boot(nil) }},
	{kind: "server.create", name: "with a volume", begin: (*stage).bootVolume},
	{kind: "server.create", name: "next host", begin: (*stage).bootVolume, agentArms: []arm{{Point: "agent/build/hypervisor/after", Do: "error", Times: 1}}},
	{kind: "server.delete", before: (*stage).running, begin: does("forceDelete", nil)},
	{kind: "server.soft_delete", before: (*stage).running, begin: func(s *stage) error { return s.delete(compute, "/servers/"+s.server) }},
	{kind: "server.restore", before: (*stage).deletedForLater, begin: does("restore", nil)},
	{kind: "server.start", before: after("os-stop", "SHUTOFF"), begin: does("os-start", nil)},
	{kind: "server.stop", before: (*stage).running, begin: does("os-stop", nil)},
	{kind: "server.reboot", before: (*stage).running, begin: does("reboot", object{"type": "SOFT"})},
	{kind: "server.reboot-hard", before: (*stage).running, begin: does("reboot", object{"type": "HARD"})},
	{kind: "server.pause", before: (*stage).running, begin: does("pause", nil)},
	{kind: "server.unpause", before: after("pause", "PAUSED"), begin: does("unpause", nil)},
	{kind: "server.suspend", before: (*stage).running, begin: does("suspend", nil)},
	{kind: "server.resume", before: after("suspend", "SUSPENDED"), begin: does("resume", nil)},
	{kind: "server.attach_volume", before: (*stage).runningAndVolume, begin: (*stage).attachVolume},
	{kind: "server.detach_volume", before: (*stage).attached, begin: (*stage).detachVolume},
	{kind: "server.attach_interface", before: (*stage).running, begin: (*stage).attachInterface},
	{kind: "server.detach_interface", before: (*stage).plugged, begin: (*stage).detachInterface},
	{kind: "server.swap_volume", before: (*stage).attachedAndAnother, begin: (*stage).swapVolume},
	{kind: "server.rescue", before: (*stage).running, begin: does("rescue", nil)},
	{kind: "server.unrescue", before: after("rescue", "RESCUE"), begin: does("unrescue", nil)},
	{kind: "server.rebuild", before: (*stage).running, begin: func(s *stage) error { return s.action("rebuild", object{"imageRef": s.image}) }},
	{kind: "server.createImage", before: (*stage).running, begin: func(s *stage) error { return s.action("createImage", object{"name": s.name}) }},
	{kind: "server.createBackup", before: (*stage).running, begin: func(s *stage) error {
		return s.action("createBackup", object{"name": s.name, "backup_type": "daily", "rotation": 1})
	}},
	{kind: "server.shelve", before: (*stage).running, begin: does("shelve", nil)},
	{kind: "server.shelveOffload", before: after("shelve", "SHELVED"), begin: does("shelveOffload", nil)},
	{kind: "server.unshelve", before: (*stage).offloaded, begin: does("unshelve", nil)},
	{kind: "server.resize", before: (*stage).running, begin: does("resize", object{"flavorRef": "84"})},
	{kind: "server.migrate", before: (*stage).running, begin: does("migrate", nil)},
	{kind: "server.migrate", name: "stopped", before: after("os-stop", "SHUTOFF"), begin: does("migrate", nil)},
	{kind: "server.confirmResize", before: (*stage).resized, begin: does("confirmResize", nil)},
	{kind: "server.revertResize", before: (*stage).resized, begin: does("revertResize", nil)},
	{kind: "server.live-migration", before: (*stage).running, begin: does("os-migrateLive", object{"host": nil, "block_migration": "auto"})},
	{kind: "server.live-migration", name: "paused", before: after("pause", "PAUSED"), begin: does("os-migrateLive", object{"host": nil, "block_migration": "auto"})},
	{kind: "server.evacuate", before: (*stage).onLostHost, begin: does("evacuate", object{}), after: (*stage).hostsBack},
	{kind: "server.changePassword", before: (*stage).running, begin: does("changePassword", object{"adminPass": "another"})},
	{kind: "server.trigger_crash_dump", before: (*stage).running, begin: does("trigger_crash_dump", nil)},
	{kind: "server.inject_network_info", before: (*stage).running, begin: does("injectNetworkInfo", nil)},
	{kind: "image.import", before: (*stage).staged, begin: (*stage).importImage},
	{kind: "host.cache_images", before: (*stage).aggregate, begin: (*stage).cacheImage, after: (*stage).noAggregate},
	{kind: "volume.create", begin: (*stage).makeVolume},
	{kind: "volume.delete", before: (*stage).available, begin: func(s *stage) error { return s.delete(volume, "/volumes/"+s.volume) }},
	{kind: "volume.extend", before: (*stage).available, begin: func(s *stage) error { return s.volumeAction("os-extend", object{"new_size": 2}) }},
	{kind: "snapshot.create", before: (*stage).available, begin: (*stage).makeSnapshot},
	{kind: "snapshot.delete", before: (*stage).snapshotted, begin: func(s *stage) error { return s.delete(volume, "/snapshots/"+s.snap) }},
}
