// Where the plugin finds its bundle: LADSPA has no ports for text.
#pragma once

#include <string>

namespace plugin {

// The folder that FRCRN_BUNDLE names; else the first of frcrn/default in the user's and the system's folders
// for data (~/.local/share, /usr/local/share, /usr/share; XDG_DATA_HOME and XDG_DATA_DIRS). "" for none.
std::string find_bundle();

}  // namespace plugin
