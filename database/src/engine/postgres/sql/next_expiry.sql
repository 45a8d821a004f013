SELECT lease_until FROM jobs WHERE state = 'leased' ORDER BY lease_until LIMIT 1
