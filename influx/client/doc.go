// Package client is a server that takes points or answers questions: where it
// is, the credentials, and the HTTP requests.
//
// In: a Config. Out: settings that were checked (Config.ResolveAll), what the
// points need on the server (Setup), one write request (Client.Write), and the
// rows of an answer as they come (Client.Query).
//
// Promised: credentials are sent to the configured server only: no redirect is
// followed, and no proxy is used that could read them; an answer whose end is
// missing is an error; an error of Validate names the key, what is wrong with
// its value and what is wanted.
// Not promised: anything is tried twice; that is what package delivery does.
package client
