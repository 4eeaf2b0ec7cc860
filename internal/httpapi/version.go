package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"nephos/internal/fault"
)

// Version is a microversion; the zero Version means "not versioned".
type Version struct{ Major, Minor int }

// V makes a Version.
func V(major, minor int) Version { return Version{major, minor} }

// Less orders versions.
func (v Version) Less(o Version) bool {
	return v.Major < o.Major || v.Major == o.Major && v.Minor < o.Minor
}

// AtLeast is !v.Less(o); an unversioned request (zero) is at least nothing but zero.
func (v Version) AtLeast(o Version) bool { return !v.Less(o) }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// IsZero says that the request carries no version.
func (v Version) IsZero() bool { return v == Version{} }

// Microversions says how a service negotiates.
type Microversions struct {
	Service      string // the word in OpenStack-API-Version: "compute", "volume", "placement"
	LegacyHeader string // e.g. "X-OpenStack-Nova-API-Version"; empty: none
	Min, Max     Version
	Default      Version // when the client sends none
}

// versionText is the form of a microversion: no signs, no leading zeros.
var versionText = regexp.MustCompile(`^[1-9][0-9]{0,3}\.(0|[1-9][0-9]{0,3})$`)

// negotiate reads the request's version. Malformed: 400; outside the range: 406 (OpenStack API-WG microversion specification).
func (m *Microversions) negotiate(h http.Header) (Version, error) {
	text := ""
	for _, value := range h.Values("OpenStack-API-Version") {
		for part := range strings.SplitSeq(value, ",") {
			if svc, v, ok := strings.Cut(strings.TrimSpace(part), " "); ok && strings.EqualFold(svc, m.Service) {
				text = strings.TrimSpace(v)
			}
		}
	}
	if text == "" && m.LegacyHeader != "" {
		text = strings.TrimSpace(h.Get(m.LegacyHeader))
	}
	switch text {
	case "":
		return m.Default, nil
	case "latest":
		return m.Max, nil
	}
	major, minor, _ := strings.Cut(text, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil || !versionText.MatchString(text) {
		return Version{}, fault.Invalid("OpenStack-API-Version", "API Version String '%s' is of invalid format. Must be of format MajorNum.MinorNum.", text)
	}
	v := V(a, b)
	if v.Less(m.Min) || m.Max.Less(v) {
		return v, fault.New(fault.KindNotAcceptable, "Version %s is not supported by the API. Minimum is %s and maximum is %s.", v, m.Min, m.Max)
	}
	return v, nil
}

func (m *Microversions) setHeaders(h http.Header, v Version) {
	h.Set("OpenStack-API-Version", m.Service+" "+v.String())
	h.Add("Vary", "OpenStack-API-Version")
	if m.LegacyHeader != "" {
		h.Set(m.LegacyHeader, v.String())
		h.Add("Vary", m.LegacyHeader)
	}
}
