"""What RabiBridge counts, as families of metrics, and how they are written. It knows no HTTP server."""
