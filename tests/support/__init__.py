"""What tests share: commands, services, browsers, servers, sample workflows and planted bugs."""
