// Package fault owns the closed set of error kinds that cross room borders.
//
// A room returns a *Fault (built by NotFound, Invalid, Conflict, …) wrapped, where useful, by fmt.Errorf("%w").
// httpapi turns the kind into a status code and each service's own error body, at one edge.
// Nothing here knows HTTP bodies, SQL or a service.
package fault
