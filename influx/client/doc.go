// Package client is the HTTP client of a server that stores points or answers queries: its
// address, credentials and requests.
//
// In: a Config. Out: validated settings (Config.ResolveAll), databases or buckets on the server
// (Setup), one write request (Client.Write), and the rows of an answer as they arrive
// (Client.Query).
//
// Promised: credentials are sent to the configured server only: redirects are not followed, and
// no proxy is used that could read them; a truncated answer is an error; an error of Validate
// names the key, what is wrong with its value and what is wanted. Not promised: retries;
// package delivery does those.
package client
