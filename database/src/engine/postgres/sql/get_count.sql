SELECT records FROM counts WHERE namespace = $1 AND collection = $2
