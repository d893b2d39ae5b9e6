"""The proxy of ``aexp crash``, with both drivers on a real server."""
