package compute

import (
	"regexp"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// wants reads what flavor and image say under hw:NAME and hw_NAME.
type wants struct {
	flavor Flavor
	props  map[string]string
}

func (w wants) of(name string) (flavor, image string) {
	return w.flavor.ExtraSpecs["hw:"+name], w.props["hw_"+name]
}

// refuse names the key that is at fault: the flavor's, or the image's.
func refuse(key, format string, args ...any) error {
	return fault.Invalid(key, format, args...)
}

// agreed is what both say, or the one that says something. Where both speak and differ the server is refused, as Nova does: neither may overrule the other.
func (w wants) agreed(name string) (string, error) {
	flavor, image := w.of(name)
	if flavor != "" && image != "" && flavor != image {
		return "", refuse("hw:"+name, "The flavor's hw:%s=%s and the image's hw_%s=%s contradict each other.", name, flavor, name, image)
	}
	return orText(flavor, image), nil
}

// count reads a number of at least 1; 0 when there is none.
func count(key, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, refuse(key, "%s=%s is not a number of at least 1.", key, text)
	}
	return n, nil
}

// speaks says whether any key begins so.
func speaks(m map[string]string, prefixes ...string) bool {
	for k := range m {
		for _, p := range prefixes {
			if strings.HasPrefix(k, p) {
				return true
			}
		}
	}
	return false
}

// Layout is how the flavor and the image want the processors and memory of a guest to lie. fault.KindInvalid names the key that contradicts itself, does not fit the flavor, or
// that no host here can do: nothing that is asked for is passed over.
func (f Flavor) Layout(props map[string]string) (l hostapi.Layout, err error) {
	if !speaks(f.ExtraSpecs, "hw:cpu_", "hw:numa_", "hw:mem_page_size", "hw:emulator_", "resources:") && !speaks(props, "hw_cpu_", "hw_numa_", "hw_mem_page_size", "hw_emulator_") {
		return l, nil // almost every server
	}
	w := wants{f, props}
	if err := w.foreign(); err != nil {
		return l, err
	}
	if l.Dedicated, err = w.dedicated(); err != nil {
		return l, err
	}
	if l.Pages, err = w.pages(); err != nil {
		return l, err
	}
	if l.Nodes, err = w.nodes(); err != nil {
		return l, err
	}
	if l.Nodes == nil && !l.Free() { // Nova: all of it on one node of the host then
		l.Nodes = []hostapi.Node{{CPUs: upTo(f.VCPUs), RAMMiB: f.RAMMiB}}
	}
	for i, n := range l.Nodes {
		if l.Pages > 0 && n.RAMMiB<<10%l.Pages != 0 {
			return l, refuse("hw:mem_page_size", "The %d MiB of NUMA node %d are no multiple of the page size of %d KiB.", n.RAMMiB, i, l.Pages)
		}
	}
	return l, w.shape(&l)
}

// foreign refuses what no host here does.
func (w wants) foreign() error {
	for _, name := range []string{"cpu_realtime", "emulator_threads_policy", "cpu_dedicated_mask", "cpu_realtime_mask"} {
		flavor, image := w.of(name)
		key, value := "hw:"+name, flavor
		if value == "" {
			key, value = "hw_"+name, image
		}
		switch strings.ToLower(value) {
		case "", "no", "false", "0", "share":
			continue
		}
		return refuse(key, "%s=%s is asked for, which no host of this cloud can do.", key, value)
	}
	return nil
}

// dedicated reads the CPU policy and what belongs to it. Since resources:PCPU means the same, both together are refused (Nova).
func (w wants) dedicated() (bool, error) {
	flavor, image := w.of("cpu_policy")
	if flavor == "shared" && image == "dedicated" {
		return false, refuse("hw_cpu_policy", "The image asks for hw_cpu_policy=dedicated, which its flavor's hw:cpu_policy=shared forbids.")
	}
	policy := orText(flavor, image)
	if flavor == "dedicated" {
		policy = flavor
	}
	switch policy {
	case "", "shared", "dedicated":
	case "mixed":
		return false, refuse("hw:cpu_policy", "hw:cpu_policy=mixed is asked for, which no host of this cloud can do: all processors of a server are dedicated, or none.")
	default:
		return false, refuse("hw:cpu_policy", "hw:cpu_policy=%s is none of shared, dedicated, mixed.", policy)
	}
	amount, any := w.flavor.ExtraSpecs["resources:"+pcpu]
	_, floating := w.flavor.ExtraSpecs["resources:VCPU"]
	switch {
	case (any || floating) && policy != "":
		return false, refuse("resources:"+pcpu, "resources:VCPU and resources:PCPU cannot be combined with hw:cpu_policy or hw_cpu_policy: use one or the other.")
	case any && amount != "0" && amount != strconv.Itoa(w.flavor.VCPUs):
		return false, refuse("resources:"+pcpu, "The flavor's resources:PCPU=%s is not its number of VCPUs, %d: all processors of a server are dedicated, or none.", amount, w.flavor.VCPUs)
	case any && amount != "0":
		policy = "dedicated"
	}
	threads, err := w.agreed("cpu_thread_policy")
	switch {
	case err != nil:
		return false, err
	case threads == "":
	case threads != "prefer" && threads != "isolate" && threads != "require":
		return false, refuse("hw:cpu_thread_policy", "hw:cpu_thread_policy=%s is none of prefer, isolate, require.", threads)
	case policy != "dedicated":
		return false, refuse("hw:cpu_thread_policy", "hw:cpu_thread_policy=%s is for servers with hw:cpu_policy=dedicated only.", threads)
	}
	return policy == "dedicated", nil
}

// pageForm is a size with or without a unit; without it is KiB.
var pageForm = regexp.MustCompile(`^(\d+)([kKMGT]?)(?:i?[bB]|bit)?$`)

// pages reads the page size in KiB. An image may choose only where the flavor says large or any (Nova).
func (w wants) pages() (int, error) {
	flavor, image := w.of("mem_page_size")
	if image != "" && flavor != "large" && flavor != "any" {
		return 0, refuse("hw_mem_page_size", "The image asks for hw_mem_page_size=%s, which its flavor's hw:mem_page_size=%s does not allow.", image, flavor)
	}
	key, size := "hw:mem_page_size", flavor
	if image != "" {
		key, size = "hw_mem_page_size", image
	}
	switch size {
	case "", "any", "small":
		return 0, nil
	case "large":
		return hostapi.LargestPages, nil
	}
	m := pageForm.FindStringSubmatch(size)
	if m == nil {
		return 0, refuse(key, "%s=%s is no size of pages.", key, size)
	}
	n, err := strconv.Atoi(m[1])
	factor := map[string]int{"": 1, "K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}[strings.ToUpper(m[2])]
	if err != nil || n < 1 || n > 1<<30/factor {
		return 0, refuse(key, "%s=%s is no size of pages.", key, size)
	}
	if n *= factor; n <= usualPages {
		return 0, nil
	}
	return n, nil
}

// usualPages is in KiB, of x86_64 and most of aarch64.
const usualPages = 4

// nodes reads the guest's NUMA nodes; nil when it asks for none.
func (w wants) nodes() ([]hostapi.Node, error) {
	text, err := w.agreed("numa_nodes")
	if err != nil {
		return nil, err
	}
	n, err := count("hw:numa_nodes", text)
	if err != nil || n == 0 {
		return nil, err
	}
	f := w.flavor
	if n > f.VCPUs {
		return nil, refuse("hw:numa_nodes", "hw:numa_nodes=%d is more than the flavor's %d VCPUs.", n, f.VCPUs)
	}
	out := make([]hostapi.Node, n)
	said, cpus, ram := 0, 0, 0
	seen := map[int]bool{}
	for i := range out {
		list, err := w.agreed("numa_cpus." + strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		mem, err := w.agreed("numa_mem." + strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		if list == "" && mem == "" {
			continue
		}
		said++
		ids, err := hostapi.ParseCPUs(list)
		if err != nil {
			return nil, refuse("hw:numa_cpus."+strconv.Itoa(i), "hw:numa_cpus.%d=%s is no list of processors.", i, list)
		}
		for _, id := range ids {
			if id >= f.VCPUs || seen[id] {
				return nil, refuse("hw:numa_cpus."+strconv.Itoa(i), "hw:numa_cpus.%d=%s: processor %d is on another node too, or beyond the flavor's %d VCPUs.", i, list, id, f.VCPUs)
			}
			seen[id] = true
		}
		mib, err := count("hw:numa_mem."+strconv.Itoa(i), mem)
		if err != nil {
			return nil, err
		}
		if mib == 0 || len(ids) == 0 {
			return nil, refuse("hw:numa_nodes", "NUMA node %d has hw:numa_cpus or hw:numa_mem alone: it needs both.", i)
		}
		out[i], cpus, ram = hostapi.Node{CPUs: ids, RAMMiB: mib}, cpus+len(ids), ram+mib
	}
	switch {
	case said == 0 && (f.VCPUs%n != 0 || f.RAMMiB%n != 0):
		return nil, refuse("hw:numa_nodes", "%d VCPUs and %d MiB of memory do not divide evenly among hw:numa_nodes=%d: hw:numa_cpus.N and hw:numa_mem.N must say how.", f.VCPUs, f.RAMMiB, n)
	case said == 0:
		all := upTo(f.VCPUs)
		for i := range out {
			out[i] = hostapi.Node{CPUs: all[i*f.VCPUs/n : (i+1)*f.VCPUs/n], RAMMiB: f.RAMMiB / n}
		}
	case said != n:
		return nil, refuse("hw:numa_nodes", "hw:numa_cpus.N and hw:numa_mem.N speak of %d of the %d NUMA nodes.", said, n)
	case cpus != f.VCPUs || ram != f.RAMMiB:
		return nil, refuse("hw:numa_nodes", "The NUMA nodes have %d VCPUs and %d MiB of memory together, the flavor has %d and %d.", cpus, ram, f.VCPUs, f.RAMMiB)
	}
	return out, nil
}

// shape chooses sockets, cores and threads: as many of those that were asked for as their product allows, within the limits, and else as many sockets as can be (Nova).
func (w wants) shape(l *hostapi.Layout) error {
	var want, most [3]int
	for i, name := range []string{"sockets", "cores", "threads"} {
		var err error
		flavor, image := w.of("cpu_" + name)
		if want[i], err = count("hw:cpu_"+name, orText(flavor, image)); err != nil {
			return err
		}
		flavor, image = w.of("cpu_max_" + name)
		if most[i], err = count("hw:cpu_max_"+name, flavor); err != nil {
			return err
		}
		least, err := count("hw_cpu_max_"+name, image)
		if err != nil {
			return err
		}
		if least > 0 && most[i] > 0 && least > most[i] {
			return refuse("hw_cpu_max_"+name, "The image's hw_cpu_max_%s=%d is beyond the flavor's %d.", name, least, most[i])
		}
		if least > 0 {
			most[i] = least
		}
	}
	if want == [3]int{} && most == [3]int{} {
		return nil
	}
	n, best := w.flavor.VCPUs, -1
	for sockets := n; sockets > 0; sockets-- {
		for cores := n / sockets; cores > 0 && n%sockets == 0; cores-- {
			if n/sockets%cores != 0 {
				continue
			}
			is, score := [3]int{sockets, cores, n / sockets / cores}, 0
			for i := range is {
				if most[i] > 0 && is[i] > most[i] {
					score -= 4 // worse than anything that keeps to the limits
				}
				if want[i] == is[i] {
					score++
				}
			}
			if score > best {
				best, l.Sockets, l.Cores, l.Threads = score, is[0], is[1], is[2]
			}
		}
	}
	if best < 0 {
		return refuse("hw:cpu_max_sockets", "%d VCPUs cannot be made of at most %d sockets, %d cores and %d threads (0: no limit).", n, most[0], most[1], most[2])
	}
	return nil
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Layout is how the server's processors and memory are to lie.
func (s *Server) Layout() (hostapi.Layout, error) { return s.Flavor.V.Layout(s.Image.V.Properties) }
