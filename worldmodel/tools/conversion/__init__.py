"""From any data set to a folder of videos, shards, our episodes or LeRobot."""
